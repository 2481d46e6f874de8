/** Lines of `sshuttle`, up to 2.0, as lines of tunnel (pasted.ts). */
import {
  Draft,
  flag,
  keep,
  keepSwitch,
  lacks,
  leaveOut,
  type PastedOption,
  REMOTE,
  readWords,
  TARGET,
  type Translation,
  valued,
  WHAT_TARGETS_ARE,
} from './pasteddraft.ts';
import type { OptionShape } from './words.ts';

const SUDOERS = 'connect asks for root once, for a small helper';
const INTERNAL = 'sshuttle starts itself with it';
const NO_PROGRAM = 'no program is started on the jump host';
const NO_BUFFER = 'no program at the far side buffers connections';
const ONE_DEVICE = 'connections are captured with a TUN device, by routes';
const ONE_COMMAND = 'all users are captured; "tunnel exec" is for one command';
const ITS_OWN = "it is sshuttle's own affair";
const ABOUT_ITSELF = '"tunnel --help" and "tunnel --version" are about tunnel';

/** sshuttle(8). */
export const SSHUTTLE_LINE_OPTIONS: readonly PastedOption[] = [
  valued(sshuttleRemote, '-r', '--remote'),
  valued(keep('-x'), '-x', '--exclude'),
  valued(keep('-X'), '-X', '--exclude-from'),
  valued(keep('-s'), '-s', '--subnets'),
  valued(keep('-e'), '-e', '--ssh-cmd'),
  valued(keep('--dns-server'), undefined, '--to-ns'),
  valued(keep('--pidfile'), undefined, '--pidfile'),
  flag(keepSwitch('--dns'), undefined, '--dns'),
  flag(keepSwitch('-v'), '-v', '--verbose'),
  flag(keepSwitch('-D'), '-D', '--daemon'),
  flag(keepSwitch('--syslog'), undefined, '--syslog'),
  valued(leaveOut('nothing listens for captured connections'), '-l', '--listen'),
  valued(leaveOut(ONE_DEVICE), undefined, '--method'),
  valued(leaveOut(ONE_DEVICE), '-t', '--tmark'),
  valued(leaveOut(NO_PROGRAM), undefined, '--python'),
  valued(leaveOut(NO_PROGRAM), undefined, '--remote-shell'),
  flag(leaveOut(NO_PROGRAM), undefined, '--no-cmd-delimiter'),
  valued(leaveOut(NO_BUFFER), undefined, '--latency-buffer-size'),
  flag(leaveOut(NO_BUFFER), undefined, '--no-latency-control'),
  flag(
    leaveOut('only the address families of the targets are captured'),
    undefined,
    '--disable-ipv6',
  ),
  flag(leaveOut(ITS_OWN), undefined, '--no-sudo-pythonpath'),
  valued(leaveOut(ITS_OWN), undefined, '--wrap'),
  flag(leaveOut(INTERNAL), undefined, '--firewall'),
  flag(leaveOut(INTERNAL), undefined, '--hostwatch'),
  flag(leaveOut(ABOUT_ITSELF), '-h', '--help'),
  flag(leaveOut(ABOUT_ITSELF), '-V', '--version'),
  flag(lacks(SUDOERS), undefined, '--sudoers'),
  flag(lacks(SUDOERS), undefined, '--sudoers-no-modify'),
  valued(leaveOut(SUDOERS), undefined, '--sudoers-user'),
  valued(leaveOut(SUDOERS), undefined, '--sudoers-filename'),
  valued(lacks('write "ip netns exec NAME" in front, as root'), undefined, '--namespace'),
  valued(
    lacks('write "nsenter --net --target PID" in front, as root'),
    undefined,
    '--namespace-pid',
  ),
  flag(lacks('name the networks as targets'), '-N', '--auto-nets'),
  flag(lacks('name the hosts as targets'), '-H', '--auto-hosts'),
  valued(lacks('name the hosts as targets'), undefined, '--seed-hosts'),
  valued(lacks('with --dns, all queries are captured'), undefined, '--ns-hosts'),
  valued(lacks(ONE_COMMAND), undefined, '--user'),
  valued(lacks(ONE_COMMAND), undefined, '--group'),
];

/** `words`: those after `sshuttle`. `options`: those of `connect`. */
export function fromSshuttle(
  words: readonly string[],
  options: readonly OptionShape[],
): Translation {
  const draft = new Draft();
  const subnets = readWords(words, SSHUTTLE_LINE_OPTIONS, draft, 'all operands');
  const isTargets = subnets.length > 0 || draft.has('-s');
  // An @FILE may have anything.
  const isWhole = subnets.some((word) => word.startsWith('@'));
  const remote = draft.has('-r') || isWhole ? [] : REMOTE;
  const translated = draft.wordsFor('connect', options);
  return {
    command: [],
    words: [...translated, ...subnets],
    missing: [...remote, ...(isTargets ? [] : TARGET)],
    notes: isTargets ? draft.notes : [...draft.notes, WHAT_TARGETS_ARE],
  };
}

/** sshuttle takes a password there; it must not be printed, and sshd would log it. */
function sshuttleRemote(value: string, draft: Draft, name: string): void {
  const [, user, password, host] = /^([^:@]+):(.*)@([^@]+)$/.exec(value) ?? [];
  draft.add(name, '-r', password === undefined ? value : `${user}@${host}`);
  if (password !== undefined) draft.note('a password is asked for when it is needed');
}
