/**
 * `npm run man`: writes the manual pages to dist/man, from what is written elsewhere:
 *
 *   declarations of the commands ──► name, synopsis, examples, options by group, notes
 *   sections of docs/usage.md    ──► the explanations; whole pages for section 5
 *   docs/decisions               ──► the date, so that the same sources make the same pages
 *
 * It also lists the pages in package.json, because npm installs only what is listed there.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { marked } from 'marked';
import type { CommandDeclaration } from '../src/cli/command.ts';
import { COMMANDS } from '../src/cli/commands.ts';
import type { Option } from '../src/config/option.ts';
import { blocks, escaped, filled, literal, plainText, verbatim } from './manual/roff.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const MANUAL = join(ROOT, 'dist/man');

/** Sections of docs/usage.md that explain a command; further: one titled `tunnel NAME`. */
const EXPLAINED: Readonly<Record<string, readonly string[]>> = {
  connect: [
    ...['The jump host', 'Targets', 'Names', 'Clouds', 'With sudo', 'When the link is lost'],
    ...['What connections see', 'Signals', 'Exit codes', 'Environment', 'Files', 'Errors'],
  ],
  exec: ['One command: exec'],
  proxy: ['Proxies'],
  completion: ['Completion'],
};
/** Names of sections in man-pages(7). */
const STANDARD: Readonly<Record<string, string>> = { 'Exit codes': 'EXIT STATUS' };
/** Documents that are pages of their own, once they are there. */
const DOCUMENTS = [
  {
    file: 'docs/profiles.md',
    name: 'tunnel-config',
    section: 5,
    summary: 'configuration file of tunnel',
  },
] as const;

interface Page {
  readonly name: string;
  readonly section: number;
  readonly text: string;
}

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** All pages, by file name. */
export function manualPages(): ReadonlyMap<string, string> {
  const commands: readonly CommandDeclaration[] = Object.values(COMMANDS);
  const documents = DOCUMENTS.filter(({ file }) => existsSync(join(ROOT, file)));
  const pages: Page[] = [
    ...commands.map((command) => commandPage(command, commands)),
    ...documents.map(({ file, name, section, summary }) => ({
      name,
      section,
      text: [
        ...head(name, section, summary),
        '.SH DESCRIPTION',
        ...blocks(marked.lexer(read(file)).slice(1), 'SH'),
        ...seeAlso(name, commands),
      ].join('\n'),
    })),
    { name: 'tunnel-connect', section: 1, text: pointer() },
  ];
  return new Map(
    pages.map(({ name, section, text }) => [
      `${name}.${section}`,
      `${text.replace(/^(\.S[HS] .*\n)\.PP\n/gm, '$1')}\n`,
    ]),
  );
}

function commandPage(command: CommandDeclaration, all: readonly CommandDeclaration[]): Page {
  const isMain = command.isDefault === true;
  const name = isMain ? 'tunnel' : `tunnel-${command.name}`;
  const summary = isMain
    ? 'reach the networks behind a jump host with nothing but sshd'
    : command.description;
  const shown = isMain ? all : [command];
  const others = all.filter((other) => other.isDefault !== true);
  const text = [
    ...head(name, 1, summary),
    '.SH SYNOPSIS',
    '.nf',
    ...shown.map(({ name: word, shownAs, usage }) => synopsis(shownAs ?? `tunnel ${word}`, usage)),
    '.fi',
    '.SH DESCRIPTION',
    ...filled(escaped(sentence(command.description))),
    ...notes(command.after, isMain),
    ...(command.examples === undefined
      ? []
      : ['.SH EXAMPLES', ...literal(command.examples.replace(/^Examples:\n/, ''))]),
    ...(isMain ? ['.SH COMMANDS', ...others.flatMap(listedCommand)] : []),
    '.SH OPTIONS',
    ...optionsOf(command),
    ...explanations(command),
    ...seeAlso(name, all),
  ].join('\n');
  return { name, section: 1, text };
}

/** The default command is explained with the program. */
function pointer(): string {
  return [
    ...head('tunnel-connect', 1, COMMANDS.connect.description),
    '.SH DESCRIPTION',
    ...filled('This is what the program does when no command is named:'),
    '.BR tunnel (1)',
    'explains it.',
  ].join('\n');
}

function head(name: string, section: number, summary: string): string[] {
  const { version } = JSON.parse(read('package.json'));
  return [
    `.TH ${escaped(name.toUpperCase())} ${section} ${newestDate()} "tunnel ${version}"`,
    '.nh',
    '.ad l',
    '.SH NAME',
    ...filled(`${escaped(name)} \\- ${escaped(summary)}`),
  ];
}

function newestDate(): string {
  const dates = readdirSync(join(ROOT, 'docs/decisions')).flatMap((file) =>
    [...read(`docs/decisions/${file}`).matchAll(/^Date: .*(\d{4}-\d\d-\d\d)$/gm)].map(
      ([, date = '']) => date,
    ),
  );
  return dates.sort().at(-1) ?? '';
}

function synopsis(command: string, usage: string): string {
  return `\\fB${escaped(command)}\\fR ${escaped(usage)}`;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function exitStatus(text: string): string[] {
  const isTable = text.startsWith('\n');
  return ['.SH EXIT STATUS', ...(isTable ? literal(text.slice(1)) : filled(escaped(text)))];
}

/** The text at the end of help: paragraphs, and lines that are aligned. */
function notes(after: string, isMain: boolean): string[] {
  return after
    .replace(/\nOther commands, each.*?\n\n/s, '\n')
    .split(/\n{2,}/)
    .flatMap((paragraph) => {
      const text = paragraph.replace(/^\n|\n$/g, '');
      if (text === '') return [];
      const codes = /^Exit codes: ?/.exec(text)?.[0].length;
      if (codes !== undefined) return isMain ? [] : exitStatus(text.slice(codes));
      return /^ /m.test(text) ? ['.PP', ...literal(text)] : ['.PP', ...filled(escaped(text))];
    });
}

function listedCommand({ name, summary, description }: CommandDeclaration): string[] {
  return [
    '.TP',
    `.BR ${escaped(`tunnel-${name}`)} (1)`,
    ...filled(escaped(sentence(summary ?? description))),
  ];
}

function optionsOf({ groups, isDefault }: CommandDeclaration): string[] {
  const headings = [...new Set(groups.map(({ heading }) => heading))];
  const own = headings.flatMap((heading) => [
    `.SS ${verbatim(heading.replace(/:$/, ''))}`,
    ...groups
      .filter((group) => group.heading === heading)
      .flatMap(({ options }) => Object.values(options).flatMap(option)),
  ]);
  const common = [
    { flags: '-h, --help', help: 'show a summary' },
    ...(isDefault === true ? [{ flags: '-V, --version', help: 'show the version' }] : []),
  ];
  return [...own, ...(own.length === 0 ? [] : ['.SS Help']), ...common.flatMap(option)];
}

function option({ flags, help }: Pick<Option, 'flags' | 'help'>): string[] {
  const [names = '', value] = flags.split(/ (?=<)/);
  const shown = names.split(', ').map((name) => `\\fB${escaped(name)}\\fR`);
  const argument = value === undefined ? '' : ` \\fI${escaped(value.slice(1, -1))}\\fR`;
  return ['.TP', `${shown.join(', ')}${argument}`, ...filled(escaped(sentence(help)))];
}

/** Sections, or subsections, of docs/usage.md. */
function explanations({ name }: CommandDeclaration): string[] {
  const tokens = marked.lexer(read('docs/usage.md'));
  const titles = EXPLAINED[name] ?? [`tunnel ${name}`];
  return titles.flatMap((title) => {
    const begin = tokens.findIndex((token) => token.type === 'heading' && token.text === title);
    const heading = tokens[begin];
    if (heading?.type !== 'heading') return [];
    const rest = tokens.slice(begin + 1);
    const end = rest.findIndex((token) => token.type === 'heading' && token.depth <= heading.depth);
    const shown = STANDARD[title] ?? title.toUpperCase();
    return [`.SH ${verbatim(shown)}`, ...blocks(rest.slice(0, end === -1 ? undefined : end), 'SS')];
  });
}

function seeAlso(name: string, commands: readonly CommandDeclaration[]): string[] {
  const pages = [
    ...commands.map((command) =>
      command.isDefault === true ? 'tunnel' : `tunnel-${command.name}`,
    ),
    ...['ssh', 'sshd'],
  ].filter((page) => page !== name);
  const section = (page: string) => (page === 'sshd' ? 8 : 1);
  return [
    '.SH SEE ALSO',
    ...pages.map((page) => `.BR ${escaped(page)} (${section(page)}),`),
    '.BR ssh_config (5)',
    '.PP',
    ...filled(
      escaped(
        plainText(
          'The folder docs of the package has more: security, jump hosts, OpenStack, measurements, and the reasons for what is as it is.',
        ),
      ),
    ),
  ];
}

/** As package.json has it. */
export function listOfPages(pages: ReadonlyMap<string, string>): string {
  const lines = [...pages.keys()].sort().map((file) => `    "./dist/man/${file}"`);
  return `[\n${lines.join(',\n')}\n  ]`;
}

function main(): void {
  rmSync(MANUAL, { recursive: true, force: true });
  mkdirSync(MANUAL, { recursive: true });
  const pages = manualPages();
  for (const [file, text] of pages) writeFileSync(join(MANUAL, file), text);
  const manifest = read('package.json');
  const listed = manifest.replace(/"man": \[[^\]]*\]/, `"man": ${listOfPages(pages)}`);
  if (listed !== manifest) writeFileSync(join(ROOT, 'package.json'), listed);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main();
