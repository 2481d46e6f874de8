/** The patterns of ssh_config and known_hosts, and of the file names that Include takes. */
const NOTHING = /(?!)/;

/**
 * For file names within one directory, as in glob(7): `*`, `?`, `[abc]` and `[!a-z]`. `[z-a]`
 * matches nothing.
 */
export function globRegExp(pattern: string): RegExp {
  const source = pattern.replace(/\[!?\]?[^\]]*\]|[\s\S]/g, (part) => {
    if (part === '*') return '[\\s\\S]*';
    if (part === '?') return '[\\s\\S]';
    if (part.length === 1) return part.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&');
    const negated = part.startsWith('[!');
    return `[${negated ? '^' : ''}${part.slice(negated ? 2 : 1, -1).replace(/[\\\]^]/g, '\\$&')}]`;
  });
  try {
    return new RegExp(`^${source}$`);
  } catch {
    return NOTHING; // a range whose end comes before its beginning
  }
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
