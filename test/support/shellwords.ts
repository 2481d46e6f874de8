/**
 * Shell text of the documents, taken apart into its simple commands (POSIX XCU §2.3, as far as
 * documents go): quotes, backslashes, comments, redirections, here-documents, pipes and lists.
 * Expansions (`$NAME`, `$(...)`) stay as they are written.
 */

export interface SimpleCommand {
  readonly words: readonly string[];
  /** The end of a background job: `command &`. */
  readonly background: boolean;
}

/** What ends a simple command; `&` and `|` double as well. */
const OPERATORS = '|&;()\n';

/** Throws Error if a quoted text isn't closed: the text is then something other than commands. */
export function simpleCommands(text: string): SimpleCommand[] {
  const commands: SimpleCommand[] = [];
  const heredocs: string[] = [];
  let words: string[] = [];
  let word: string | undefined;
  let redirected: 'file' | 'here' | undefined;
  let at = 0;

  const endWord = (): void => {
    if (word === undefined) return;
    if (redirected === 'here') heredocs.push(word);
    else if (redirected === undefined) words.push(word);
    redirected = undefined;
    word = undefined;
  };
  const endCommand = (background: boolean): void => {
    endWord();
    if (words.length > 0) commands.push({ words, background });
    words = [];
  };
  const quotedUntil = (end: string): void => {
    for (at += 1; text.charAt(at) !== end; at += 1) {
      if (at >= text.length) throw new Error(`a text in ${end} isn't closed: ${text}`);
      if (end === '"' && text.charAt(at) === '\\' && '"\\$`\n'.includes(text.charAt(at + 1)))
        at += 1;
      word += text.charAt(at);
    }
  };

  for (; at < text.length; at += 1) {
    const character = text.charAt(at);
    const next = text.charAt(at + 1);
    if (character === '\\') {
      at += 1;
      if (next !== '\n') word = (word ?? '') + next;
    } else if (character === "'" || character === '"') {
      word ??= '';
      quotedUntil(character);
    } else if (character === '$' && next === '(') {
      const end = text.indexOf(')', at);
      word = (word ?? '') + text.slice(at, end + 1);
      at = end;
    } else if (character === '#' && word === undefined) {
      while (at + 1 < text.length && text.charAt(at + 1) !== '\n') at += 1;
    } else if (character === '<' || character === '>') {
      if (/^\d+$/.test(word ?? '')) word = undefined; // the descriptor
      endWord();
      if (next === '(') continue; // a process substitution: its command is one of the list
      const [operator = ''] = /^(<<-?|>>|>&|<&|>\||<>|<|>)/.exec(text.slice(at)) ?? [];
      redirected = operator.startsWith('<<') ? 'here' : 'file';
      at += operator.length - 1;
    } else if (OPERATORS.includes(character)) {
      endCommand(character === '&' && next !== '&' && text.charAt(at - 1) !== '&');
      if (character === '\n')
        for (const end of heredocs.splice(0)) {
          const close = new RegExp(`^\\t*${end}$`, 'm').exec(text.slice(at + 1));
          if (close === null) throw new Error(`the here-document of ${end} isn't closed: ${text}`);
          at += 1 + close.index + close[0].length;
        }
    } else if (/\s/.test(character)) endWord();
    else word = (word ?? '') + character;
  }
  endCommand(false);
  return commands;
}

/** Programs that run another one: their own words before it. */
const STARTERS: readonly RegExp[] = [
  /^(sudo|doas)( -[EnSk]| -u \S+| --preserve-env(=\S+)?)*$/,
  /^ip netns exec \S+$/,
  /^nsenter --net --target \S+$/,
  /^systemd-run( --\S+)*$/,
];

/** The arguments of `tunnel` in a simple command; undefined: it runs something else. */
export function tunnelArguments(words: readonly string[]): readonly string[] | undefined {
  const assigned = words.findIndex((word) => !/^[A-Za-z_]\w*=/.test(word));
  const own = words.slice(Math.max(assigned, 0));
  const at = own.findIndex((word) => word === 'tunnel' || word === './tunnel');
  if (at === -1) return undefined;
  const before = own.slice(0, at).join(' ');
  return before === '' || STARTERS.some((starter) => starter.test(before))
    ? own.slice(at + 1)
    : undefined;
}
