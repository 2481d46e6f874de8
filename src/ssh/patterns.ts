/** The patterns of ssh_config and known_hosts, and of the file names that Include takes. */
const NOTHING = /(?!)/;

/** The classes of ASCII in `[[:alpha:]]`. */
const CLASSES: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  digit: '0-9',
  lower: 'a-z',
  punct: '!-/:-@\\[-`{-~',
  space: '\\s',
  upper: 'A-Z',
  xdigit: '0-9A-Fa-f',
};

/**
 * For file names within one directory, as in glob(7): `*`, `?`, `[abc]`, `[!a-z]`, `[[:digit:]]`,
 * and `\` before a character that is meant literally. `[z-a]` matches nothing.
 */
export function globRegExp(pattern: string): RegExp {
  const source = pattern.replace(GLOB_PART, (part) => {
    if (part === '*') return '[\\s\\S]*';
    if (part === '?') return '[\\s\\S]';
    if (part.startsWith('\\') && part.length === 2) return literal(part.slice(1));
    if (part.length === 1) return literal(part);
    const negated = part.startsWith('[!');
    const members = part.slice(negated ? 2 : 1, -1);
    const written = members.replace(/\[:([a-z]+):\]|[\\\]^[]/g, (member, name?: string) =>
      name === undefined ? `\\${member}` : (CLASSES[name] ?? ''),
    );
    return `[${negated ? '^' : ''}${written}]`;
  });
  try {
    return new RegExp(`^${source}$`);
  } catch {
    return NOTHING; // a range whose end comes before its beginning
  }
}

/** An escaped character, a set, or any other character. */
const GLOB_PART = /\\[\s\S]|\[!?\]?(?:\[:[a-z]+:\]|[^\]])*\]|[\s\S]/g;

function literal(character: string): string {
  return character.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&');
}

/** What a part of a glob without `*`, `?` and sets means. undefined: it has one. */
export function globLiteral(pattern: string): string | undefined {
  const isMagic = /[*?[]/.test(pattern.replace(/\\[\s\S]/g, ''));
  return isMagic ? undefined : pattern.replace(/\\([\s\S])/g, '$1');
}

/**
 * ssh_config(5), PATTERNS: `*` and `?`. Takes linear time in the text for each `*`, unlike a
 * regular expression made from a file's text.
 */
export function matchPattern(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let retry = 0;
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++;
      retry = t;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[t])) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++retry;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/**
 * True if some pattern matches and no negated one (`!pattern`) does, in whatever order they are.
 */
export function matchPatterns(patterns: readonly string[], text: string): boolean {
  let matched = false;
  for (const pattern of patterns) {
    const negated = pattern.startsWith('!');
    if (!matchPattern(negated ? pattern.slice(1) : pattern, text)) continue;
    if (negated) return false;
    matched = true;
  }
  return matched;
}
