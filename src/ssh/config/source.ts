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
import { type Evaluation, evaluateConfig, presentName, type Written } from './evaluate.ts';
import {
  type ConfigFile,
  type ConfigPart,
  loadConfig,
  type WrittenConfig,
  writeConfig,
} from './files.ts';
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
const PRINTED_EXPANDED = ['userknownhostsfile', 'identityagent'];
/** What is said about one host. */
export interface HostConfig {
  readonly values: KeywordValues;
  /** By keyword: where the user has set it. */
  readonly written: ReadonlyMap<string, Written>;
}

/** Compiled into ssh. */
const GLOBAL_KNOWN_HOSTS =
  'GlobalKnownHostsFile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2';

export class ConfigSource {
  readonly machine: Machine;
  readonly #parts: readonly ConfigPart[];
  readonly #copy: WrittenConfig;
  readonly #unevaluated = new Set<string>();
  #defaults: Promise<KeywordValues> | undefined;

  /** `file`: -F. Throws UsageError for files that can't be read. */
  static async open(file: string | undefined, machine: Machine): Promise<ConfigSource> {
    const { user, system } = await loadConfig({ file, ...machine });
    const gssapi = hasKerberosTickets(machine) ? undefined : 'GSSAPIAuthentication no';
    const parts = [user, gssapi, system, `ServerAliveInterval ${DEFAULT_KEEPALIVE}`].filter(isPart);
    const copy = await writeConfig([...parts, movedKnownHosts(machine)].filter(isPart));
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

  /** The parts that could not be evaluated without ssh, one phrase each. */
  get unevaluated(): readonly string[] {
    return [...this.#unevaluated];
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
    const answer = await this.#querySsh(['-F', this.#copy.path, ...args], host);
    const evaluation = {
      parts: [...sshOptions, ...this.#parts, userKnownHosts(this.machine), GLOBAL_KNOWN_HOSTS],
      name: host,
      user,
      port,
      jump,
      localUser: () => localUser(this.machine.environment),
    };
    if (answer !== undefined)
      return { values: answer, written: this.#places(answer, evaluation, sshOptions) };
    const { values, written, unevaluated } = evaluateConfig(evaluation);
    for (const phrase of unevaluated) this.#unevaluated.add(phrase);
    const tokens = readTokens({ host }, new Keywords(values), this.machine);
    const expanded = new Map(values);
    for (const keyword of PRINTED_EXPANDED) {
      const texts = values.get(keyword)?.map((text) => expandPath(text, tokens, keyword));
      if (texts !== undefined) expanded.set(keyword, texts);
    }
    return { values: expanded, written };
  }

  /**
   * ssh doesn't say where a value was set. A keyword in a section that only ssh can evaluate gets
   * the place of the first line with that keyword.
   */
  #places(
    answer: KeywordValues,
    evaluation: Evaluation,
    sshOptions: readonly string[],
  ): ReadonlyMap<string, Written> {
    const lines = allLines([...sshOptions, ...this.#parts]);
    try {
      const { written, values, unevaluated } = evaluateConfig({ ...evaluation, lenient: true });
      if (unevaluated.length === 0) return written;
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

/** A copy of the files, without our defaults, for the system's ssh to connect with. */
export async function copyConfig(
  file: string | undefined,
  machine: Machine,
): Promise<WrittenConfig> {
  const { user, system } = await loadConfig({ file, ...machine });
  return writeConfig([user, system, movedKnownHosts(machine)].filter(isPart));
}

/** ssh prints some flags as `true` and `false`. */
function comparable(values: readonly string[] | undefined): string | undefined {
  return values
    ?.join()
    .toLowerCase()
    .replace(/^true$/, 'yes')
    .replace(/^false$/, 'no');
}

/** The first line of each keyword, in whatever section. */
function allLines(parts: readonly ConfigPart[]): ReadonlyMap<string, Written> {
  const found = new Map<string, Written>();
  const add = (directive: Directive | undefined, place: string): void => {
    if (directive === undefined) return;
    const keyword = presentName(directive.keyword);
    if (!found.has(keyword)) found.set(keyword, { place, text: directive.args.join(' ') });
  };
  const read = (file: ConfigFile): void => {
    for (const { directive, number, includes } of file.lines) {
      add(directive, `${file.path}:${number}`);
      for (const included of includes ?? []) read(included);
    }
  };
  for (const part of parts) {
    if (typeof part !== 'string') read(part);
    else for (const line of part.split('\n')) add(parseDirective(line, '-o'), `-o ${line}`);
  }
  return found;
}

function isPart(part: ConfigPart | undefined): part is ConfigPart {
  return part !== undefined;
}

/**
 * The known_hosts files in $HOME, if ssh would look in another home directory. Otherwise they are
 * not named, because naming them turns off UpdateHostKeys.
 */
function movedKnownHosts(machine: Machine): string | undefined {
  try {
    if (userInfo().homedir === machine.home) return undefined;
  } catch {
    // No passwd entry: ssh would not even start.
  }
  return userKnownHosts(machine);
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
