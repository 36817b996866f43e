// How the page at / looks: no fonts, images or scripts from elsewhere, dark where the reader likes it.

export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --ground: #f6f5f1; --panel: #ffffff; --ink: #1d2228; --soft: #5c6670; --rule: #dfdcd3;
  --accent: #0b6e63; --accent-ink: #ffffff; --code: #f0eee7; --good: #1f8a4c; --bad: #b3382c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181c; --panel: #1b2126; --ink: #e7eaec; --soft: #98a3ad; --rule: #2c343b;
    --accent: #4fd1bf; --accent-ink: #0c1a18; --code: #11161a; --good: #55c985; --bad: #f08a7c;
  }
}
* { box-sizing: border-box }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem }
header { display: flex; align-items: center; gap: .9rem; flex-wrap: wrap }
header svg { width: 3.2rem; height: 2rem; color: var(--accent) }
h1 { font-size: 1.9rem; letter-spacing: -.02em; margin: 0 }
h2 { font-size: 1.05rem; margin: 0 0 .6rem }
.lead { color: var(--soft); max-width: 46rem; margin: .6rem 0 1.8rem; font-size: 1.08rem }
.columns { display: grid; grid-template-columns: 1fr; gap: 1.1rem }
@media (min-width: 56rem) { .columns { grid-template-columns: 5fr 6fr } }
.panel { background: var(--panel); border: 1px solid var(--rule); border-radius: 12px; padding: 1.1rem 1.2rem; min-width: 0 }
.columns + .panel { margin-top: 1.1rem }
.step { color: var(--soft); margin: .7rem 0 .3rem; font-size: .93rem }
pre {
  background: var(--code); border-radius: 8px; padding: .65rem .8rem; margin: 0 0 .4rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1rem; margin: 0; align-items: baseline }
dt { font-weight: 600 }
dd { margin: 0; min-width: 0 }
dd code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .5rem } }
.status { margin-left: auto; font-size: .9rem; color: var(--soft); display: flex; align-items: center; gap: .45rem }
.status::before { content: ""; width: .6rem; height: .6rem; border-radius: 50%; background: var(--soft) }
.status[data-state="open"]::before { background: var(--good) }
.status[data-state="lost"]::before { background: var(--bad) }
pre + button { padding: .1rem .6rem; font-size: .85rem; float: right }
.step { clear: both }
form { display: flex; gap: .5rem; margin: 0 0 .6rem; flex-wrap: wrap }
form[hidden] { display: none }
input, button { font: inherit; border-radius: 8px; border: 1px solid var(--rule); padding: .4rem .7rem; min-width: 0 }
input { background: var(--ground); color: inherit; flex: 1 1 8rem }
input:focus-visible, button:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px }
button { background: var(--accent); color: var(--accent-ink); border-color: transparent; font-weight: 600; cursor: pointer }
button.quiet { background: none; color: var(--accent); border-color: var(--rule) }
button:disabled { opacity: .5; cursor: default }
.messages {
  list-style: none; margin: 0; padding: 0; height: 15.5rem; overflow-y: auto; border-top: 1px solid var(--rule);
  font: 13.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}
.messages li { padding: .22rem 0; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; white-space: pre-wrap }
.messages b { color: var(--accent); font-weight: 600 }
.messages i { color: var(--soft); font-style: normal }
.note { color: var(--soft); font-size: .9rem; margin: .5rem 0 0 }
footer { color: var(--soft); font-size: .9rem; margin-top: 1.6rem }
a { color: var(--accent) }
`
