/**
 * Options of ssh(1) as those of tunnel: of whole lines of `ssh` (pasted.ts), and of single options
 * that somebody writes out of habit (habits.ts).
 */
import { parseForward } from '../net/forward.ts';
import { NotationError, quoted, shellWord } from '../net/notation.ts';
import { tcpServicePort } from '../system/services.ts';
import {
  Draft,
  flag,
  keep,
  keepSwitch,
  lacks,
  leaveOut,
  type PastedOption,
  REMOTE,
  type Rule,
  readWords,
  TARGET,
  type Translation,
  valued,
  WHAT_TARGETS_ARE,
  withUser,
} from './pasteddraft.ts';
import type { OptionShape } from './words.ts';

const setting =
  (keyword: string): Rule =>
  (value, draft, name) =>
    draft.add(name, '-o', `${keyword}=${value}`);

const NO_SESSION = 'no command or terminal is started on the jump host';
const NOTHING_THERE = 'nothing is run on the jump host that could use the agent, X11 or tickets';
const NOT_SHARED = 'connections of ssh are neither shared nor controlled';

/** ssh(1), up to OpenSSH 10.2. Others are answered as unknown. */
export const SSH_OPTIONS: readonly PastedOption[] = [
  valued(keep('-p'), '-p'),
  valued(keep('-i'), '-i'),
  valued(keep('-J'), '-J'),
  valued(keep('-F'), '-F'),
  valued(keep('-o'), '-o'),
  flag(keepSwitch('-v'), '-v'),
  flag(keepSwitch('-q'), '-q'),
  valued((value, draft) => {
    draft.user = value;
  }, '-l'),
  valued(setting('BindAddress'), '-b'),
  valued(setting('BindInterface'), '-B'),
  valued(setting('Ciphers'), '-c'),
  valued(setting('MACs'), '-m'),
  valued(setting('PKCS11Provider'), '-I'),
  valued(setting('Tag'), '-P'),
  flag(keepSwitch('-o', 'AddressFamily=inet'), '-4'),
  flag(keepSwitch('-o', 'AddressFamily=inet6'), '-6'),
  flag(keepSwitch('-o', 'GSSAPIAuthentication=yes'), '-K'),
  flag(keepSwitch('--daemon'), '-f'),
  flag(keepSwitch('--syslog'), '-y'),
  valued((value, draft) => void draft.socks.push(value), '-D'),
  valued(forwardPort, '-L'),
  valued((value, draft) => {
    draft.conduit = value;
  }, '-W'),
  flag((_value, draft) => {
    draft.everybody = true;
  }, '-g'),
  ...'NnTts'.split('').map((letter) => flag(leaveOut(NO_SESSION), `-${letter}`)),
  ...'AakXxY'.split('').map((letter) => flag(leaveOut(NOTHING_THERE), `-${letter}`)),
  valued(leaveOut('there is no session to escape from'), '-e'),
  flag(leaveOut('data are not compressed'), '-C'),
  flag(leaveOut(NOT_SHARED), '-M'),
  valued(leaveOut(NOT_SHARED), '-S'),
  valued(leaveOut('"tunnel status" and "tunnel stop" are for running tunnels'), '-O'),
  valued(
    (value, draft, name) =>
      draft.leaveOut(name, `append 2>>${shellWord(value)} instead, or add --syslog`),
    '-E',
  ),
  flag(leaveOut('--print-config shows what a line says, and "ssh -G" what ssh_config says'), '-G'),
  flag(leaveOut('"tunnel --version" shows the version'), '-V'),
  valued(leaveOut('it asks ssh about itself'), '-Q'),
  valued(lacks('nothing listens at the jump host'), '-R'),
  valued(lacks('no device is made at the jump host'), '-w'),
];

/** autossh(1): those of ssh, with a -M of its own. */
export const AUTOSSH_OPTIONS: readonly PastedOption[] = [
  ...SSH_OPTIONS.filter(({ short }) => short !== '-M'),
  valued(leaveOut('the tunnel notices a dead link and connects again by itself'), '-M'),
];

/** What is known of a line when its options have been read. */
export interface ReadLine {
  /** The command of tunnel, if it is written. */
  readonly named: string | undefined;
  readonly draft: Draft;
  /** Of a line without -r. */
  readonly host: string | undefined;
  /** It needs a jump host, and names none. */
  readonly lacksHost: boolean;
  readonly targets: readonly string[];
  /** Whether something else names targets: a file, a cloud, a profile. */
  readonly hasOtherTargets: boolean;
  /** What a command really takes. */
  readonly takenBy: OptionsOf;
}

/** The options of a command of tunnel. */
export type OptionsOf = (command: string) => readonly OptionShape[];

/** `words`: those after `ssh`. `options`: those that it has there. */
export function fromSsh(
  named: string | undefined,
  words: readonly string[],
  takenBy: OptionsOf,
  options: readonly PastedOption[] = SSH_OPTIONS,
): Translation {
  const draft = new Draft();
  const [host, ...rest] = readWords(words, options, draft, 'first operand');
  if (rest.length > 0) draft.leaveOut(quoted(rest.join(' ')), 'nothing is run on the jump host');
  const known = { lacksHost: host === undefined, targets: [], hasOtherTargets: false };
  return translate({ named, draft, host, ...known, takenBy });
}

/**
 * The line of tunnel. -W makes it `nc`, and -D without targets `proxy`: the proxy of ssh carries
 * everything, and so does this one.
 */
export function translate(line: ReadLine): Translation {
  const { draft, host, lacksHost, targets, takenBy, hasOtherTargets } = line;
  const command = commandFor(line);
  const shown = command ?? 'connect';
  addListeners(draft, command);
  const from = host === undefined ? [] : ['-r', withUser(host, draft.user)];
  if (host === undefined) draft.addUser();
  // Before the notes, to which it may add.
  const words = draft.wordsFor(shown, takenBy(shown));
  const operands = draft.conduit === undefined ? targets : destinationWords(draft.conduit);
  const has = (option: string) => words.includes(option);
  const enough =
    shown !== 'connect' || operands.length > 0 || hasOtherTargets || has('-L') || has('--socks');
  return {
    command: command === undefined ? [] : [command],
    words: [...from, ...words, ...operands],
    missing: [...(lacksHost ? REMOTE : []), ...(enough ? [] : TARGET)],
    notes: enough ? draft.notes : [...draft.notes, WHAT_TARGETS_ARE],
  };
}

function commandFor(line: ReadLine): string | undefined {
  const { named, draft, targets, hasOtherTargets } = line;
  const connects = named === undefined || named === 'connect';
  if (draft.conduit !== undefined) return 'nc';
  const idle = targets.length === 0 && !hasOtherTargets;
  return connects && draft.socks.length > 0 && idle ? 'proxy' : named;
}

/** -D and -g. */
function addListeners(draft: Draft, command: string | undefined): void {
  const { socks, everybody } = draft;
  for (const listen of socks) {
    if (command === 'nc') draft.leaveOut('-D', '"tunnel nc" has no such option');
    else listenForSocks(listen, draft);
  }
  if (everybody && draft.has('-L') && command !== 'nc') draft.add('-g', '-o', 'GatewayPorts=yes');
  else if (everybody && (socks.length === 0 || command === 'nc'))
    draft.leaveOut('-g', 'no port is opened on this machine');
}

/** `host:port`, where an IPv6 address is in brackets. */
function destinationWords(text: string): readonly string[] {
  const [, host = text, port] = /^(.*):([^:]*)$/.exec(text) ?? [];
  return port === undefined ? [host] : [host.replace(/^\[(.*)\]$/, '$1'), port];
}

/** `[bind_address:]port` */
function listenForSocks(value: string, draft: Draft): void {
  const isBare = /^[0-9]+$/.test(value);
  const given = isBare && draft.everybody ? `*:${value}` : value;
  const address = given.replace(/^localhost:/, '').replace(/^:/, '*:');
  const [, host] = /^(.*):[0-9]+$/.exec(address) ?? [];
  draft.add('-D', '--socks', address);
  if (host === undefined || /^(127\.[0-9.]+|\[::1\])$/.test(host)) return;
  draft.add('-D', '--allow-remote-clients');
  draft.note(`everybody who can connect to ${address} can use it, as with ssh`);
}

/** `[bind_address:]port:host:hostport`, which is the same here, except for sockets over there. */
function forwardPort(value: string, draft: Draft, name: string): void {
  try {
    parseForward(value, tcpServicePort);
    draft.add(name, '-L', value);
  } catch (error) {
    if (!(error instanceof NotationError)) throw error;
    draft.leaveOut(`${name} ${value}`, error.message);
  }
}
