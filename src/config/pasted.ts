/**
 * Lines for other programs, pasted after `tunnel`: `ssh -D 1080 user@jump`, `sshuttle -r ...`,
 * `user@session@domain -p 2222`. Providers' pages have such lines. Each is answered with the line
 * that does the same here.
 *
 *   words ──► readOptionWord, with the other program's options ──► words of tunnel
 *                                                            ├─► what else there is to know
 *                                                            └─► what has no counterpart
 *
 * Options that mean nothing here are left out in silence (no terminal, no background), and so is
 * sudo: the program asks for root itself. Where all words were understood, the line can be run as
 * it is printed.
 */
import { UsageError } from '../errors/errors.ts';
import { quoted, shellWord } from '../net/notation.ts';
import { isOption, isValue, type OptionShape, readOptionWord } from './words.ts';

/** A line of tunnel, and what it doesn't say. */
interface Translation {
  /** `proxy`, or nothing for `connect`. */
  readonly command: readonly string[];
  readonly words: readonly string[];
  /** What is still to be filled in: `TARGET...`; it is no word of a shell. */
  readonly missing: readonly string[];
  /** Sentences for the user, without a full stop. */
  readonly notes: readonly string[];
}

/** Adds to a translation what an option, or its value, becomes. */
type Rule = (value: string, draft: Draft) => void;

interface Draft {
  readonly words: string[];
  readonly notes: string[];
  /** Of -l and of the host. */
  user?: string;
  host?: string;
  /** Some word could not be read. */
  unknown?: true;
  /** Ports of -D, as --socks takes them. */
  readonly socks: string[];
  /** Of -L: the destination, and the port of this machine. */
  readonly forwards: { readonly target: string; readonly port: string }[];
}

interface PastedOption extends OptionShape {
  readonly rule: Rule;
}

/**
 * Throws UsageError with the line to write if the words are for `ssh` or `sshuttle`. `args`: those
 * after `tunnel`. Words of `exec` are not looked at: there ssh may be the command.
 */
export function refusePastedCommand(args: readonly string[]): void {
  const [named = ''] = args;
  const words = ['connect', 'proxy', 'doctor'].includes(named) ? args.slice(1) : args;
  const [program, ...rest] = words[0] === 'sudo' ? words.slice(1) : words;
  if (program !== 'ssh' && program !== 'sshuttle') return;
  const translation = program === 'ssh' ? fromSsh(rest) : fromSshuttle(rest);
  throw pasted(
    `${quoted(program)} is not a command of tunnel`,
    named === 'doctor' ? withoutTargets('doctor', translation) : translation,
  );
}

/** The same for a command that needs no targets. */
function withoutTargets(command: string, { words, missing, notes }: Translation): Translation {
  return {
    command: [command],
    words,
    missing: missing.filter((word) => !TARGET.includes(word)),
    notes: notes.filter((note) => note !== WHAT_TARGETS_ARE),
  };
}

export interface OwnWords {
  /** The command of tunnel, if its name is written. */
  readonly named: string | undefined;
  /** Its options and targets. */
  readonly words: readonly string[];
  readonly options: readonly OptionShape[];
  /** What follows the targets of `exec`. */
  readonly command: readonly string[];
}

/**
 * Throws UsageError with the line to write if no jump host is named by -r, but the words have one
 * where the targets are.
 */
export function refuseRemoteWithoutOption({ named, words, options, command }: OwnWords): void {
  let at: number | undefined;
  let operands = 0;
  let elsewhere = false;
  let foreign = false;
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    if (word === '--') break;
    if (isOption(word)) {
      const { options: read, value } = readOptionWord(word, options);
      if (read.some(({ long }) => long === '--remote' || long === '--profile')) return;
      foreign ||= readOptionWord(word, SSH_OPTIONS).options.some(({ short }) => isSshOnly(short));
      elsewhere ||= read.some(({ long }) => /^--(targets-from|os-cloud)$/.test(long ?? ''));
      if (value === 'next') {
        if (!isValue(words[index + 1], options)) return; // that is said when they are read
        index += 1;
      }
    } else if (word.startsWith('@')) return;
    else if (at === undefined && /^([^@/[\]]+@[^@/]|ssh:\/\/)/i.test(word)) at = index;
    else operands += 1;
  }
  if (at === undefined) return;
  const what = `no jump host is given: ${quoted(words[at] ?? '')} needs -r before it`;
  const line = foreign ? sshLine(named, words) : undefined;
  if (line !== undefined) throw pasted(what, line);
  const wants = (named ?? 'connect') === 'connect' && operands === 0 && !elsewhere;
  throw pasted(what, {
    command: named === undefined ? [] : [named],
    words: [
      ...words.slice(0, at),
      '-r',
      ...words.slice(at),
      ...(command.length === 0 ? [] : ['--', ...command]),
    ],
    missing: wants ? TARGET : [],
    notes: wants ? [WHAT_TARGETS_ARE] : [],
  });
}

const TARGET = ['TARGET...'];
const WHAT_TARGETS_ARE = 'TARGET is what to reach through it, such as 10.0.0.0/8';

/** The hint has the line alone, so that it can be copied. */
function pasted(what: string, { command, words, missing, notes }: Translation): UsageError {
  const line = ['tunnel', ...command, ...words].map(shellWord);
  return new UsageError([what, ...notes].join('; '), {
    hint: `write: ${[...line, ...missing].join(' ')}`,
  });
}

const keep =
  (...words: readonly string[]): Rule =>
  (value, draft) =>
    void draft.words.push(...words, value);
const keepSwitch =
  (...words: readonly string[]): Rule =>
  (_value, draft) =>
    void draft.words.push(...words);
const setting =
  (keyword: string): Rule =>
  (value, draft) =>
    void draft.words.push('-o', `${keyword}=${value}`);
const leaveOut: Rule = () => {};
/** `why` completes "-X has no counterpart: ...". */
const lacks =
  (option: string, why: string): Rule =>
  (_value, draft) =>
    void draft.notes.push(`${option} has no counterpart: ${why}`);

function valued(rule: Rule, short: string | undefined, long?: string): PastedOption {
  return { short, long, takesValue: true, rule };
}

function flag(rule: Rule, short: string | undefined, long?: string): PastedOption {
  return { short, long, takesValue: false, rule };
}

/** ssh(1). Those that are not here are answered as unknown. */
const SSH_OPTIONS: readonly PastedOption[] = [
  valued(keep('-p'), '-p'),
  valued(keep('-i'), '-i'),
  valued(keep('-J'), '-J'),
  valued(keep('-F'), '-F'),
  valued(keep('-o'), '-o'),
  valued((value, draft) => {
    draft.user = value;
  }, '-l'),
  valued(setting('BindAddress'), '-b'),
  valued(setting('Ciphers'), '-c'),
  valued(setting('MACs'), '-m'),
  valued(forwardSocks, '-D'),
  valued(forwardPort, '-L'),
  flag(keepSwitch('-o', 'AddressFamily=inet'), '-4'),
  flag(keepSwitch('-o', 'AddressFamily=inet6'), '-6'),
  flag(keepSwitch('-v'), '-v'),
  flag(keepSwitch('-q'), '-q'),
  ...'AaCfKkMNnTtXxYy'.split('').map((letter) => flag(leaveOut, `-${letter}`)),
  valued(leaveOut, '-E'),
  valued(leaveOut, '-e'),
  valued(leaveOut, '-S'),
  flag(
    lacks('-g', 'with --socks, write the address to listen at, as in --socks 0.0.0.0:1080'),
    '-g',
  ),
  valued(lacks('-R', 'nothing listens at the jump host'), '-R'),
  valued(lacks('-W', 'programs connect to the destination itself'), '-W'),
  valued(lacks('-w', 'no device is made at the jump host'), '-w'),
  valued(lacks('-I', 'set PKCS11Provider with -o'), '-I'),
  valued(lacks('-O', 'no other ssh is controlled'), '-O'),
  valued(lacks('-B', 'name the address with -o BindAddress=...'), '-B'),
];

const SUDOERS = 'connect asks for root once, for a small helper';
const INTERNAL = 'sshuttle starts itself with it';

/** sshuttle(8), up to 2.0. */
const SSHUTTLE_OPTIONS: readonly PastedOption[] = [
  valued(sshuttleRemote, '-r', '--remote'),
  valued(keep('-x'), '-x', '--exclude'),
  valued(keep('-X'), '-X', '--exclude-from'),
  valued(keep('-s'), '-s', '--subnets'),
  valued(keep('-e'), '-e', '--ssh-cmd'),
  valued(keep('--dns-server'), undefined, '--to-ns'),
  flag(keepSwitch('--dns'), undefined, '--dns'),
  flag(keepSwitch('-v'), '-v', '--verbose'),
  valued(leaveOut, '-l', '--listen'),
  valued(leaveOut, undefined, '--method'),
  valued(leaveOut, undefined, '--python'),
  valued(leaveOut, undefined, '--remote-shell'),
  valued(leaveOut, undefined, '--latency-buffer-size'),
  valued(leaveOut, undefined, '--pidfile'),
  valued(leaveOut, '-t', '--tmark'),
  flag(leaveOut, undefined, '--no-latency-control'),
  flag(leaveOut, undefined, '--disable-ipv6'),
  flag(leaveOut, '-D', '--daemon'),
  flag(leaveOut, undefined, '--syslog'),
  flag(leaveOut, undefined, '--no-sudo-pythonpath'),
  flag(leaveOut, undefined, '--no-cmd-delimiter'),
  valued(leaveOut, undefined, '--wrap'),
  flag(lacks('--sudoers', SUDOERS), undefined, '--sudoers'),
  flag(lacks('--sudoers-no-modify', SUDOERS), undefined, '--sudoers-no-modify'),
  valued(leaveOut, undefined, '--sudoers-user'),
  valued(leaveOut, undefined, '--sudoers-filename'),
  flag(lacks('--firewall', INTERNAL), undefined, '--firewall'),
  flag(lacks('--hostwatch', INTERNAL), undefined, '--hostwatch'),
  valued(
    lacks('--namespace', 'write "ip netns exec NAME" in front, as root'),
    undefined,
    '--namespace',
  ),
  valued(
    lacks('--namespace-pid', 'write "nsenter --net --target PID" in front, as root'),
    undefined,
    '--namespace-pid',
  ),
  flag(lacks('-N', 'name the networks as targets'), '-N', '--auto-nets'),
  flag(lacks('-H', 'name the hosts as targets'), '-H', '--auto-hosts'),
  valued(lacks('--seed-hosts', 'name the hosts as targets'), undefined, '--seed-hosts'),
  valued(lacks('--ns-hosts', 'with --dns, all queries are captured'), undefined, '--ns-hosts'),
  valued(lacks('--user', 'all users are captured; "tunnel exec" is for one'), undefined, '--user'),
  valued(
    lacks('--group', 'all users are captured; "tunnel exec" is for one'),
    undefined,
    '--group',
  ),
];

function fromSsh(words: readonly string[]): Translation {
  const draft: Draft = { words: [], notes: [], socks: [], forwards: [] };
  const command = readWords(words, SSH_OPTIONS, draft, 'first operand');
  const [host, ...rest] = command;
  if (host !== undefined) draft.host = host;
  if (rest.length > 0)
    draft.notes.push(`${quoted(rest.join(' '))} is left out: nothing is run on the jump host`);
  const { user, socks, notes } = draft;
  const targets = draft.forwards.map(({ target }) => target);
  const remote = host === undefined ? undefined : withUser(host, user);
  const proxied = socks.flatMap((listen) => ['--socks', listen]);
  const from = remote === undefined ? [] : ['-r', remote];
  // The proxy of ssh -D carries everything; with targets, ours would not.
  if (socks.length > 0) {
    const through = targets.map((target) => `${target} is reached through the proxy`);
    return {
      command: ['proxy'],
      words: [...proxied, ...from, ...draft.words],
      missing: remote === undefined ? ['-r USER@HOST'] : [],
      notes: [...notes, ...through],
    };
  }
  const idle = targets.length === 0 && !draft.words.includes('-L');
  return {
    command: [],
    words: [...from, ...draft.words, ...targets],
    missing: [...(remote === undefined ? ['-r USER@HOST'] : []), ...(idle ? TARGET : [])],
    notes: [
      ...notes,
      ...draft.forwards.map(
        ({ target, port }) => `programs connect to ${target} itself, in place of localhost:${port}`,
      ),
      ...(idle ? [WHAT_TARGETS_ARE] : []),
    ],
  };
}

/** Letters that tunnel has as well, if not all with the same meaning. */
const SHARED_LETTERS = 'piJFoevqxXs';

function isSshOnly(short: string | undefined): boolean {
  return short !== undefined && !SHARED_LETTERS.includes(short.charAt(1));
}

/** For the words of `ssh` without its name. undefined: they aren't, or `named` isn't for them. */
function sshLine(named: string | undefined, words: readonly string[]): Translation | undefined {
  const draft: Draft = { words: [], notes: [], socks: [], forwards: [] };
  const operands = readWords(words, SSH_OPTIONS, draft, 'first operand');
  if (operands.length !== 1 || draft.unknown) return undefined;
  if (named === undefined || named === 'connect') return fromSsh(words);
  return named === 'proxy' || named === 'doctor'
    ? withoutTargets(named, fromSsh(words))
    : undefined;
}

function fromSshuttle(words: readonly string[]): Translation {
  const draft: Draft = { words: [], notes: [], socks: [], forwards: [] };
  const subnets = readWords(words, SSHUTTLE_OPTIONS, draft, 'all operands');
  const { notes, host } = draft;
  const listed = draft.words.includes('-s');
  const needsTargets = subnets.length === 0 && !listed;
  return {
    command: [],
    words: [...draft.words, ...subnets],
    missing: [...(host === undefined ? ['-r USER@HOST'] : []), ...(needsTargets ? TARGET : [])],
    notes: needsTargets ? [...notes, WHAT_TARGETS_ARE] : notes,
  };
}

/**
 * Applies the rules of the options; returns the other words. `first operand`: options go on after
 * the first other word (ssh's host), and end with the next (its command).
 */
function readWords(
  words: readonly string[],
  options: readonly PastedOption[],
  draft: Draft,
  until: 'first operand' | 'all operands',
): string[] {
  const operands: string[] = [];
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    const over = until === 'first operand' && operands.length > 1;
    if (over || !isOption(word) || word === '--') {
      if (over || word !== '--') operands.push(word);
      continue;
    }
    const { options: read, value } = readOptionWord(word, options);
    if (read.length === 0 || (value === 'none' && !isWhole(word, read.length))) {
      draft.unknown = true;
      draft.notes.push(`${quoted(word)} is left out: it is not known`);
    }
    for (const [position, { rule }] of read.entries()) {
      const last = position === read.length - 1;
      if (!last || value === 'none') rule('', draft);
      else if (value === 'next') {
        index += 1;
        rule(words[index] ?? '', draft);
      } else rule(word.slice(value), draft);
    }
  }
  return operands;
}

/** Whether all letters of `-vNT`, or the whole of `--dns`, have been read. */
function isWhole(word: string, read: number): boolean {
  return word.startsWith('--') || word.length === read + 1;
}

function withUser(host: string, user: string | undefined): string {
  if (user === undefined || host.includes('@')) return host;
  const uri = /^ssh:\/\//i.exec(host)?.[0];
  return uri === undefined
    ? `${user}@${host}`
    : `${uri}${encodeURIComponent(user)}@${host.slice(uri.length)}`;
}

/** sshuttle takes a password there; it must not be printed, and sshd would log it. */
function sshuttleRemote(value: string, draft: Draft): void {
  const [, user, password, host] = /^([^:@]+):(.*)@([^@]+)$/.exec(value) ?? [];
  draft.host = value;
  if (password === undefined) draft.words.push('-r', value);
  else {
    draft.words.push('-r', `${user}@${host}`);
    draft.notes.push('a password is asked for when it is needed');
  }
}

/** `[bind_address:]port` */
function forwardSocks(value: string, draft: Draft): void {
  const address = value.replace(/^localhost:/, '').replace(/^:/, '*:');
  const [, host] = /^(.*):[0-9]+$/.exec(address) ?? [];
  draft.socks.push(address);
  if (host === undefined || /^(127\.[0-9.]+|\[::1\])$/.test(host)) return;
  draft.words.push('--allow-remote-clients');
  draft.notes.push(`everybody who can connect to ${address} can use it, as with ssh`);
}

/**
 * `[bind_address:]port:host:hostport`, where an IPv6 address is in brackets. What is on another
 * host can be reached at its own address; what is on the jump host's loopback needs the forward.
 */
function forwardPort(value: string, draft: Draft): void {
  const match = /^(?:(?:\[[^\]]*\]|[^:[\]/]*):)?([0-9]+):(\[[^\]]+\]|[^:[\]/]+):([0-9]+)$/.exec(
    value,
  );
  if (match === null) {
    draft.notes.push(`-L ${value} is left out: it is not a port, a host and its port`);
    return;
  }
  const [, port = '', host = '', hostPort = ''] = match;
  if (/^(localhost|127\.[0-9.]+|\[::1\])$/i.test(host)) draft.words.push('-L', value);
  else draft.forwards.push({ target: `${host}:${hostPort}`, port });
}
