@rem The scripts of package.json say `exec node ...`, so that on Linux and macOS no shell stands
@rem between npm and the server and swallows its signals. cmd.exe has no exec; here it is.
@%*
