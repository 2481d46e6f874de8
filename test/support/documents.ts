/**
 * The documents as the tests see them: pages, their links, the anchors of their headings, and the
 * command lines that a reader would copy.
 *
 * Fenced blocks without a language, or with `sh`, are shell text. What is neither (output, forms of
 * a command line) is marked as `text`. In `yaml` the commands are those of a CI's job, in `ini`
 * those of a unit of systemd.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { marked, type Token, type Tokens } from 'marked';
import { parseAllDocuments, visit } from 'yaml';
import { simpleCommands, tunnelArguments } from './shellwords.ts';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** All pages, relative to the repository. */
export const PAGES: readonly string[] = [
  ...readdirSync(ROOT),
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' }).map((path) =>
    join('docs', path),
  ),
  'test/README.md',
].filter((path) => path.endsWith('.md'));

export function readPage(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  // Without extensions nothing in it is a promise.
  void marked.walkTokens(marked.lexer(text), (token) => {
    tokens.push(token);
  });
  return tokens;
}

/** Targets of links and images. */
export function linksIn(text: string): string[] {
  return tokensOf(text).flatMap((token) =>
    token.type === 'link' || token.type === 'image' ? [String(token['href'])] : [],
  );
}

/**
 * The relative links of the pages among `files` that lead to none of these files and to no folder
 * of them: `PAGE -> TARGET`. Paths are relative to a folder that holds all of them.
 */
export function linksOutOf(files: readonly string[], read = readPage): string[] {
  const known = new Set(files.flatMap((file) => [file, ...foldersOf(file)]));
  return files
    .filter((file) => file.endsWith('.md'))
    .flatMap((page) =>
      linksIn(read(page))
        .filter((link) => !/^([a-z]+:|#)/.test(link))
        .map((link) => normalize(join(dirname(page), link.replace(/#.*/, ''))).replace(/\/$/, ''))
        .filter((target) => !known.has(target))
        .map((target) => `${page} -> ${target}`),
    );
}

function foldersOf(file: string): string[] {
  const parts = file.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}

/** What GitHub makes of headings: lower case, without punctuation, dashes for spaces. */
export function anchorsIn(text: string): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const token of tokensOf(text)) {
    if (token.type !== 'heading') continue;
    const slug = plain(token.tokens ?? [])
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}_\- ]/gu, '')
      .replaceAll(' ', '-');
    let anchor = slug;
    for (let count = 1; anchors.has(anchor); count += 1) anchor = `${slug}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}

function plain(tokens: readonly Token[]): string {
  return tokens
    .map((token) =>
      'tokens' in token && token.tokens !== undefined
        ? plain(token.tokens)
        : String('text' in token ? token.text : token.raw),
    )
    .join('');
}

export interface TunnelLine {
  /** As a reader would type it. */
  readonly text: string;
  /** After `tunnel`. */
  readonly args: readonly string[];
  readonly background: boolean;
}

/** The lines of tunnel in all fenced blocks. Throws Error if a block isn't shell text. */
export function tunnelLinesIn(text: string): TunnelLine[] {
  return shellTextsIn(text).flatMap((shell) =>
    simpleCommands(shell).flatMap(({ words, background }) => {
      const args = tunnelArguments(words);
      return args === undefined ? [] : [{ text: words.join(' '), args, background }];
    }),
  );
}

/** Shell text of fenced blocks, a text for each block, or for each script in YAML. */
function shellTextsIn(text: string): string[] {
  return blocksIn(text).flatMap(({ language, text: content }) => {
    if (language === '' || language === 'sh') return [content];
    if (language === 'ini')
      return [...content.matchAll(/^Exec\w+=(.*)$/gm)].map(([, line = '']) => line);
    return language === 'yaml' ? scriptsIn(content) : [];
  });
}

export interface Block {
  readonly language: string;
  readonly text: string;
}

/** All fenced blocks. */
export function blocksIn(text: string): Block[] {
  return tokensOf(text).flatMap((token) => {
    if (token.type !== 'code' || !token.raw.trimStart().startsWith('```')) return [];
    const { lang = '', text: content } = token as Tokens.Code;
    return [{ language: lang, text: content }];
  });
}

/** Commands of jobs: `script` of GitLab, `run` of GitHub Actions. */
function scriptsIn(yaml: string): string[] {
  const scripts: string[] = [];
  for (const document of parseAllDocuments(yaml))
    visit(document, {
      Pair(_key, { key, value }) {
        if (!/^((before_|after_)?script|run)$/.test(String(key))) return undefined;
        const lines: unknown = JSON.parse(JSON.stringify(value));
        scripts.push(...[lines].flat().map(String));
        return undefined;
      },
    });
  return scripts;
}

/** Code in running text that begins with `tunnel `: often without what the context gives. */
export function spokenLinesIn(text: string): string[] {
  return tokensOf(text).flatMap((token) =>
    token.type === 'codespan' && /^tunnel \S/.test(token['text']) ? [String(token['text'])] : [],
  );
}

/** What the lines have in place of dots. */
export const DOTS: RegExp = /^SHA256:\.\.\.$/;

const PUBLIC_KEY =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1dYxM4CdX1PJ5Tb9kbTpb5Jx2ZL0uCIRnfVhkXnHWQ alice\n';

/** Files that the lines name, in the directory where they are typed; `~/...` in HOME. */
export function documentFiles(): Readonly<Record<string, string>> {
  const profiles = blocksIn(readPage('docs/profiles.md')).find(
    ({ language }) => language === 'yaml',
  );
  return {
    'jump.list': 'api.example.com:443\n10.0.0.5:8774\n',
    'team.pub': PUBLIC_KEY,
    'ca.pub': PUBLIC_KEY,
    'host_ca.pub': PUBLIC_KEY,
    'mycloud.allow': 'keystone.cloud.example:5000\n',
    'other.targets': '203.0.113.0/24:443\n',
    '~/.ssh/id_ed25519.pub': PUBLIC_KEY,
    '~/.config/tunnel/config.yaml': profiles?.text ?? '',
  };
}
