/**
 * The configuration of one host from the ssh_config files, as keywords and values. If ssh is
 * installed, this is ssh's answer, otherwise our own evaluation in the same form. One source serves
 * the jump host and all hops; `close` removes the files that it has written.
 */
import { accessSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { UsageError } from '../../errors/errors.ts';
import type { Remote } from '../options.ts';
import { DEFAULT_KEEPALIVE } from '../options.ts';
import { formatJump } from '../remote.ts';
import { defaultAlgorithms } from './algorithms.ts';
import { type Evaluation, evaluateConfig, type Written } from './evaluate.ts';
import {
  type ConfigFile,
  type ConfigLine,
  type ConfigPart,
  type Ending,
  loadConfig,
  type WrittenConfig,
  writeConfig,
} from './files.ts';
import { presentName } from './keywords.ts';
import { queryConfig } from './query.ts';
import { type Directive, type KeywordValues, parseDirective, quoteArgument } from './syntax.ts';
import { expandPath } from './tokens.ts';
import { Keywords, localUser, readTokens } from './values.ts';

/** The machine on which the configuration is read. */
export interface Machine {
  readonly home: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where the system's ssh_config is. */
  readonly systemDirectory: string;
  readonly sshProgram: string;
  readonly signal: AbortSignal | undefined;
}

/** ssh expands these before it prints them, so its answer must not be expanded again. */
const PRINTED_EXPANDED = ['userknownhostsfile', 'identityagent', 'localforward'];
/** What is said about one host. */
export interface HostConfig {
  readonly values: KeywordValues;
  /** By keyword: where the user has set it. */
  readonly written: ReadonlyMap<string, Written>;
}

const GSSAPI = 'gssapiauthentication';
/** Compiled into ssh. */
const GLOBAL_KNOWN_HOSTS =
  'GlobalKnownHostsFile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2';

export class ConfigSource {
  readonly machine: Machine;
  readonly #parts: readonly ConfigPart[];
  readonly #copy: WrittenConfig;
  #defaults: Promise<KeywordValues> | undefined;

  /** `file`: -F. Throws UsageError for files that can't be read. */
  static async open(file: string | undefined, machine: Machine): Promise<ConfigSource> {
    const { user, system } = await loadConfig({ file, ...machine });
    const kept = hasKerberosTickets(machine) ? system : withoutKeyword(system, GSSAPI);
    const parts = [user, kept].filter(isPart);
    const copy = await writeConfig(parts, [
      `ServerAliveInterval ${DEFAULT_KEEPALIVE}`,
      ...movedKnownHosts(machine),
    ]);
    return new ConfigSource(machine, parts, copy);
  }

  private constructor(machine: Machine, parts: readonly ConfigPart[], copy: WrittenConfig) {
    this.machine = machine;
    this.#parts = parts;
    this.#copy = copy;
  }

  close(): Promise<void> {
    return this.#copy.remove();
  }

  /**
   * `via`: -J; empty: no ProxyJump, whatever the files say. `sshOptions`: lines that come before
   * those of the files. Throws what queryConfig and evaluateConfig throw.
   */
  async valuesFor(
    { host, port, user }: Remote,
    via: readonly Remote[] | undefined,
    sshOptions: readonly string[],
  ): Promise<HostConfig> {
    const jump = via === undefined ? undefined : formatJump(via);
    const args = [
      ...(port === undefined ? [] : ['-p', String(port)]),
      ...(user === undefined ? [] : ['-l', user]),
      ...(jump === undefined ? [] : ['-J', jump]),
      ...sshOptions.flatMap((option) => ['-o', option]),
    ];
    const answer = await this.#query(args, host, [...sshOptions, ...this.#parts]);
    const evaluation = {
      parts: [...sshOptions, ...this.#parts],
      defaults: [userKnownHosts(this.machine), GLOBAL_KNOWN_HOSTS],
      name: host,
      user,
      port,
      jump,
      localUser: () => localUser(this.machine.environment),
    };
    if (answer !== undefined) return { values: answer, written: places(answer, evaluation) };
    const { values, written } = evaluateConfig(evaluation);
    const tokens = readTokens({ host }, new Keywords(values), this.machine);
    const expanded = new Map(values);
    for (const keyword of PRINTED_EXPANDED) {
      const texts = values
        .get(keyword)
        ?.map((text) => (isPlainForward(keyword, text) ? text : expandPath(text, tokens, keyword)));
      if (texts !== undefined) expanded.set(keyword, texts);
    }
    return { values: expanded, written };
  }

  /**
   * ssh's answer, with our defaults where the user has set nothing. undefined: there is no ssh. If
   * only ssh can tell how often it reads the files, it is asked for that first.
   */
  async #query(
    args: readonly string[],
    host: string,
    parts: readonly ConfigPart[],
  ): Promise<KeywordValues | undefined> {
    const { paths } = this.#copy;
    const ask = (ending: Ending) => this.#querySsh(['-F', paths[ending], ...args], host);
    const ending = endingFor(parts);
    if (ending !== undefined) return ask(ending);
    const answer = await ask('plain');
    if (answer === undefined) return undefined;
    return ask(isReadAgain(answer) ? 'final-defaults' : 'defaults');
  }

  /** The answer of the same ssh without any configuration. */
  defaults(): Promise<KeywordValues> {
    this.#defaults ??= this.#querySsh(['-F', 'none'], 'localhost').then(
      (values) => values ?? defaultAlgorithms(),
    );
    return this.#defaults;
  }

  #querySsh(args: readonly string[], host: string): Promise<KeywordValues | undefined> {
    const { sshProgram: program, environment, signal } = this.machine;
    const { originalNames } = this.#copy;
    return queryConfig({ program, args, host, environment, originalNames, signal });
  }
}

/** Of a forward, ssh expands the path of a socket only. */
function isPlainForward(keyword: string, text: string): boolean {
  return keyword === 'localforward' && !text.includes('/');
}

export interface ConfigCopy extends Omit<WrittenConfig, 'paths'> {
  /** For -F. */
  readonly path: string;
}

/**
 * A copy of the files, without our defaults, for the system's ssh to connect with. `without`:
 * keywords that it must not see.
 */
export async function copyConfig(
  file: string | undefined,
  machine: Machine,
  without: readonly string[],
): Promise<ConfigCopy> {
  const { user, system } = await loadConfig({ file, ...machine });
  const parts = [user, system].map((part) => without.reduce(withoutKeyword, part)).filter(isPart);
  const { paths, ...copy } = await writeConfig(parts, movedKnownHosts(machine));
  return { ...copy, path: paths[endingFor(parts) ?? 'defaults'] };
}

/** Whether ssh reads the files twice, as far as they tell. undefined: only ssh knows. */
function endingFor(parts: readonly ConfigPart[]): Ending | undefined {
  let canBeReadAgain = false;
  for (const { directive, includes } of linesOf(parts)) {
    const { keyword, args } = directive;
    // ssh reads each Match line, also in sections that don't apply.
    if (keyword === 'match' && args.some((arg) => /^!?final$/i.test(arg))) return 'final-defaults';
    canBeReadAgain ||= READ_AGAIN.includes(keyword) && !/^(no|false|none)$/i.test(args[0] ?? '');
    canBeReadAgain ||= keyword === 'include' && includes === undefined;
  }
  return canBeReadAgain ? undefined : 'defaults';
}

const READ_AGAIN = ['canonicalizehostname', 'canonicalizepermittedcnames'];

function isReadAgain(answer: KeywordValues): boolean {
  return !/^(no|false)$/i.test(answer.get('canonicalizehostname')?.[0] ?? 'no');
}

/**
 * ssh doesn't say where a value was set. A keyword in a section that only ssh can evaluate gets the
 * place of the first line with that keyword.
 */
function places(answer: KeywordValues, evaluation: Evaluation): ReadonlyMap<string, Written> {
  const lines = new Map<string, Written>();
  for (const { directive, place } of linesOf(evaluation.parts)) {
    const keyword = presentName(directive.keyword);
    if (!lines.has(keyword)) lines.set(keyword, { place, text: directive.args.join(' ') });
  }
  try {
    const { written, values, isComplete } = evaluateConfig({ ...evaluation, lenient: true });
    if (isComplete) return written;
    const others = [...lines].filter(
      ([keyword]) => comparable(answer.get(keyword)) !== comparable(values.get(keyword)),
    );
    return new Map([...written, ...others]);
  } catch (error) {
    // Something that only a newer ssh understands.
    if (error instanceof UsageError) return lines;
    throw error;
  }
}

/** ssh prints some flags as `true` and `false`. */
function comparable(values: readonly string[] | undefined): string | undefined {
  return values
    ?.join()
    .toLowerCase()
    .replace(/^true$/, 'yes')
    .replace(/^false$/, 'no');
}

interface PlacedLine {
  readonly directive: Directive;
  readonly includes: ConfigLine['includes'];
  readonly place: string;
}

/** All lines, in whatever section, in order. */
function* linesOf(parts: readonly ConfigPart[]): Generator<PlacedLine> {
  for (const part of parts) {
    if (typeof part !== 'string') {
      yield* linesOfFile(part);
      continue;
    }
    for (const line of part.split('\n')) {
      const directive = parseDirective(line, '-o');
      if (directive !== undefined) yield { directive, includes: undefined, place: `-o ${line}` };
    }
  }
}

function* linesOfFile({ path, lines }: ConfigFile): Generator<PlacedLine> {
  for (const { directive, number, includes } of lines) {
    if (directive !== undefined) yield { directive, includes, place: `${path}:${number}` };
    for (const file of includes ?? []) yield* linesOfFile(file);
  }
}

/** The files without the lines of a keyword, for which they have empty lines. */
function withoutKeyword(file: ConfigFile | undefined, keyword: string): ConfigFile | undefined {
  if (file === undefined) return undefined;
  const lines = file.lines.map((line): ConfigLine => {
    if (line.directive?.keyword === keyword) return { ...line, text: '', directive: undefined };
    const includes = line.includes?.map((included) => withoutKeyword(included, keyword));
    return { ...line, includes: includes?.filter(isPart) };
  });
  return { path: file.path, lines };
}

function isPart(part: ConfigFile | undefined): part is ConfigFile {
  return part !== undefined;
}

/**
 * The known_hosts files in $HOME, if ssh would look in another home directory. Otherwise they are
 * not named, because naming them turns off UpdateHostKeys.
 */
function movedKnownHosts(machine: Machine): string[] {
  try {
    if (userInfo().homedir === machine.home) return [];
  } catch {
    // No passwd entry: ssh would not even start.
  }
  return [userKnownHosts(machine)];
}

function userKnownHosts({ home }: Machine): string {
  const files = ['known_hosts', 'known_hosts2'].map((name) =>
    quoteArgument(join(home, '.ssh', name).replaceAll('%', '%%')),
  );
  return `UserKnownHostsFile ${files.join(' ')}`;
}

/** The default ticket cache of MIT Kerberos is a file. The environment names any other one. */
function hasKerberosTickets({ environment }: Machine): boolean {
  if ((environment['KRB5CCNAME'] ?? '') !== '') return true;
  try {
    accessSync(`/tmp/krb5cc_${process.getuid?.()}`);
    return true;
  } catch {
    return false; // no tickets
  }
}
