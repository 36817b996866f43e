// Why the system would not give a file or a folder, in words for whoever named it.

const WORDS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not',
  EEXIST: 'there is a file of that name',
  EISDIR: 'it is a folder',
  ELOOP: 'its links lead in a circle',
  EMFILE: 'this process has too many files open',
  ENAMETOOLONG: 'the name is too long',
  ENOENT: 'there is no such file or folder',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of its path is no folder',
  EPERM: 'this user may not',
  EROFS: 'the disk can only be read',
}

/** Half a sentence, with the system's own word for it where there is one. */
export function fileFault(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === undefined) return message
  const words = WORDS[code]
  return words === undefined ? code : `${words} (${code})`
}
