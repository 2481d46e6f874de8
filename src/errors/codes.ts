/**
 * Every error code of this program, with the exit status of a run that it ends.
 *
 *   ERRORS ─┬─► ErrorCode       the type: a code that is not declared here doesn't compile
 *           ├─► exitStatusOf()  what cli/exit.ts ends the program with
 *           └─► tables.ts       the tables of docs/usage.md; a test compares the two
 *
 * Some errors end one connection, query or login method, not a run. If one of these ended a run, it
 * would end it with the status given here.
 */

/** Exit statuses, for scripts. Documented in docs/usage.md and in --help. */
export const EXIT = {
  ok: 0,
  unexpected: 1,
  usage: 2,
  authentication: 3,
  hostKey: 4,
  jumpHost: 5,
  capture: 6,
  alreadyRunning: 7,
} as const;

export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'orderly stop',
  unexpected: 'unexpected failure',
  usage: 'wrong usage, or wrong settings of a cloud',
  authentication: 'authentication failed, at the jump host or at Keystone',
  hostKey: 'host key rejected',
  jumpHost: 'jump host not reachable at the start',
  capture: 'capture not possible here',
  alreadyRunning: 'another tunnel captures the same range, or part of it, or the same names',
};

/** Those of `tunnel exec` besides its command's own, the same as in env(1) and timeout(1). */
export const EXEC_EXIT = { failed: 125, cannotExecute: 126, notFound: 127 } as const;

export type ExitStatus =
  | (typeof EXIT)[keyof typeof EXIT]
  | (typeof EXEC_EXIT)[keyof typeof EXEC_EXIT];

interface ErrorGroup {
  readonly codes: readonly string[];
  readonly exit: ExitStatus;
  /** None of these is thrown without a hint of its own (HintedCode). */
  readonly hinted?: true;
  /** What the error means and what helps, in one line. */
  readonly meaning: string;
}

/** Codes with the same meaning for the reader share an entry. */
export const ERRORS = [
  { codes: ['usage'], exit: EXIT.usage, meaning: 'an argument is wrong; the message names it' },
  {
    codes: ['jumphost-dns', 'jumphost-refused', 'jumphost-unreachable', 'jumphost-timeout'],
    exit: EXIT.jumpHost,
    meaning:
      'the jump host, or a host on the way to it, could not be reached over TCP; `via a, b:` names the hosts before it',
  },
  {
    codes: ['jumphost-slow'],
    exit: EXIT.jumpHost,
    meaning:
      'the jump host accepted the connection, but SSH made no progress; it is tried again after growing waits of up to 30 s',
  },
  {
    codes: ['jumphost-proxy'],
    exit: EXIT.jumpHost,
    meaning: 'the ProxyCommand ended; its last line is shown',
  },
  {
    codes: ['jumphost-forwarding-prohibited'],
    exit: EXIT.jumpHost,
    meaning: "a host on the way doesn't permit forwards to the next one",
  },
  {
    codes: ['jumphost-not-ssh'],
    exit: EXIT.jumpHost,
    meaning: 'something else answers at that port; its first line is shown',
  },
  {
    codes: ['jumphost-no-common-algorithm'],
    exit: EXIT.jumpHost,
    meaning: 'server and SSH client offer no common algorithm; the hint says what to allow',
  },
  {
    codes: ['jumphost-key-exchange'],
    exit: EXIT.jumpHost,
    meaning:
      'the server breaks a rule of the key exchange: a wrong signature, a key out of range, an RSA host key that is too short, no strict key exchange where the cipher needs it',
  },
  {
    codes: ['algorithms-unknown'],
    exit: EXIT.usage,
    meaning: "your configuration names only algorithms that the SSH client doesn't have",
  },
  {
    codes: ['jumphost-no-identification'],
    exit: EXIT.jumpHost,
    meaning:
      'the connection was closed before the jump host said anything: a load balancer without a working server behind it, a TLS port, or an address that is shut out',
  },
  {
    codes: ['jumphost-closed'],
    exit: EXIT.jumpHost,
    meaning:
      'the jump host hung up before authentication: `MaxStartups`, `PerSourcePenalties`, a ban',
  },
  {
    codes: ['jumphost-protocol'],
    exit: EXIT.jumpHost,
    meaning: 'the server breaks the rules of SSH: it is faulty or hostile; the message says how',
  },
  {
    codes: ['host-key-unknown', 'host-key-changed', 'host-key-revoked'],
    exit: EXIT.hostKey,
    meaning:
      'see [Host key](#the-jump-host); nothing was sent except the key exchange, nothing was captured',
  },
  {
    codes: ['host-key-weak', 'host-key-unchecked'],
    exit: EXIT.hostKey,
    meaning:
      "the host key is shorter than `RequiredRSASize`, or what ssh_config names against host keys (`RevokedHostKeys`, `KnownHostsCommand`) can't be read or fails; nothing was sent except the key exchange",
  },
  {
    codes: ['host-key-certified'],
    exit: EXIT.hostKey,
    meaning:
      'the host has a certificate, which `RevokedHostKeys` or a `@revoked` line may concern; only your `ssh` checks it, and it is missing or not permitted by `--transport`',
  },
  {
    codes: ['host-key-skipped'],
    exit: EXIT.hostKey,
    meaning: 'the server continued before its host key was accepted, which no SSH server does',
  },
  {
    codes: ['host-key-differs'],
    exit: EXIT.hostKey,
    meaning: 'two `-r` show different keys; both are named',
  },
  {
    codes: ['known-hosts-unwritable'],
    exit: EXIT.unexpected,
    meaning: "an accepted host key can't be saved; the message names the file",
  },
  {
    codes: ['auth-failed'],
    exit: EXIT.authentication,
    meaning: 'the login was refused; the message lists what was tried and what the server accepts',
  },
  {
    codes: ['auth-timeout'],
    exit: EXIT.authentication,
    meaning: 'the jump host did not finish authentication in time',
  },
  {
    codes: ['auth-password-expired'],
    exit: EXIT.authentication,
    meaning: 'the jump host wants a new password; change it with ssh first',
  },
  {
    codes: ['no-terminal', 'auth-cancelled'],
    exit: EXIT.authentication,
    meaning: 'a question could not be asked, or was not answered',
  },
  {
    codes: [
      'auth-identity-unreadable',
      'auth-identity-permissions',
      'auth-passphrase',
      'credential-unusable',
    ],
    exit: EXIT.authentication,
    meaning: "a key file of `-i`, or a credential of systemd's, can't be used",
  },
  {
    codes: ['auth-skipped'],
    exit: EXIT.authentication,
    meaning: 'one way to log in was left out; the next one is tried',
  },
  {
    codes: ['agent-failed'],
    exit: EXIT.unexpected,
    meaning: "ssh-agent doesn't answer, or can't sign; other keys are tried",
  },
  {
    codes: ['ssh-config-timeout'],
    exit: EXIT.usage,
    meaning: "a command in ssh_config (`Match exec`) doesn't end",
  },
  {
    codes: ['openssh-not-found', 'openssh-unusable', 'openssh-configuration', 'transport-unfit'],
    exit: EXIT.usage,
    meaning: 'your `ssh` is needed, but is missing, is too old or rejects its configuration',
  },
  {
    codes: ['openssh-failed'],
    exit: EXIT.jumpHost,
    meaning: 'your `ssh` ended for an unknown reason; its last line is shown',
  },
  {
    codes: ['openssh-directory'],
    exit: EXIT.unexpected,
    meaning: "a private directory for the socket of your `ssh` can't be made",
  },
  { codes: ['link-lost'], exit: EXIT.jumpHost, meaning: 'the connection broke; it is made again' },
  {
    codes: ['link-closed', 'access-missing', 'window-exceeded', 'flow-given-up'],
    exit: EXIT.unexpected,
    meaning: 'one connection through the tunnel ended, or could not be made; the tunnel goes on',
  },
  {
    codes: [
      'connect-refused',
      'connect-unreachable',
      'connect-no-network',
      'connect-prohibited',
      'connect-timeout',
    ],
    exit: EXIT.unexpected,
    meaning:
      'the far side, or a rule, refused one connection; [what connections see](#what-connections-see)',
  },
  {
    codes: ['capture-privileges'],
    exit: EXIT.capture,
    meaning: 'sudo or doas refused, or neither is installed',
  },
  {
    codes: ['capture-not-permitted'],
    exit: EXIT.capture,
    meaning:
      'this user may not capture this for everybody on the machine; [who may](security.md#who-may-capture-what)',
  },
  {
    codes: ['helper-rules'],
    exit: EXIT.capture,
    meaning: '`/etc/tunnel/helper.conf` has an error, or others than root can write it',
  },
  {
    codes: ['capture-no-tun'],
    exit: EXIT.capture,
    meaning:
      'no `/dev/net/tun`: in a container, start it with `--device /dev/net/tun`; otherwise `modprobe tun`',
  },
  {
    codes: ['capture-route-exists'],
    exit: EXIT.capture,
    meaning:
      'this machine has a route for exactly this prefix: exclude it, or name a narrower target',
  },
  {
    codes: ['capture-address'],
    exit: EXIT.capture,
    meaning: 'no free address block, or IPv6 is switched off here',
  },
  {
    codes: ['capture-family'],
    exit: EXIT.capture,
    meaning:
      'a new target has an address family that the device was made without; start the tunnel again',
  },
  {
    codes: ['capture-failed'],
    exit: EXIT.capture,
    meaning: 'the device or a route could not be created; the message says which and why',
  },
  {
    codes: ['capture-listen', 'forward-listen'],
    exit: EXIT.capture,
    meaning: "a proxy, or a fixed forward, can't listen at its address",
  },
  {
    codes: ['capture-diverted'],
    exit: EXIT.capture,
    meaning:
      "what is captured goes another way all the same: by a rule before the main table, or by a route that can't be overridden; the message says which",
  },
  {
    codes: ['helper-lost', 'capture-device-lost'],
    exit: EXIT.capture,
    meaning: 'the helper, the device or its routes were taken away while it ran',
  },
  {
    codes: ['privileged-lost', 'privileged-refused'],
    exit: EXIT.unexpected,
    meaning:
      'under sudo or doas: the part of the program that stays root was ended, or refused a request',
  },
  {
    codes: ['pidfile-unwritable'],
    exit: EXIT.usage,
    meaning: '`--pidfile` names a file that this user may not write',
  },
  {
    codes: ['unclean', 'dns-undo'],
    exit: EXIT.unexpected,
    meaning:
      'not everything could be undone at the end; the messages before it say what, and `tunnel clean` tries again',
  },
  {
    codes: ['capture-closed'],
    exit: EXIT.capture,
    meaning: 'the tunnel is stopping; remaining connections are reset',
  },
  {
    codes: ['helper-version'],
    exit: EXIT.capture,
    meaning:
      'the installed helper has another version; the message has the command that updates it',
  },
  {
    codes: ['record-file'],
    exit: EXIT.usage,
    meaning:
      "the file of `--flow-log` or `--pcap` can't be used: it is none, it is not yours, others may write it, another tunnel does, or it holds something else",
  },
  {
    codes: ['node-version'],
    exit: EXIT.unexpected,
    meaning: 'there is no Node in PATH, or one older than 20.19',
  },
  {
    codes: ['needs-linux'],
    exit: EXIT.capture,
    meaning: 'what captures needs Linux, which this is not',
  },
  {
    codes: ['native-missing'],
    exit: EXIT.capture,
    meaning:
      "there are no native files for this machine, or they can't be loaded; the message says what helps",
  },
  {
    codes: ['already-running'],
    exit: EXIT.alreadyRunning,
    meaning:
      'another tunnel captures this range or part of it: exclude that from one of them with `-x`; or it [answers for the same names](#several-tunnels); or has the same `--pidfile`; or `tunnel up` has started it already',
  },
  {
    codes: ['dns-resolved', 'dns-resolv-conf'],
    exit: EXIT.capture,
    meaning:
      "queries can't be captured on this machine: start the tunnel as root, or use `tunnel exec`",
  },
  {
    codes: ['dns-no-resolver'],
    exit: EXIT.capture,
    meaning:
      'no resolver answers behind the jump host, over TCP: name one with `--dns-server`, and have it permitted there',
  },
  {
    codes: ['dns-no-block'],
    exit: EXIT.capture,
    meaning: 'seven tunnels with name targets are already running',
  },
  {
    codes: ['journal'],
    exit: EXIT.capture,
    meaning:
      "a change to this machine can't be recorded, so it isn't made; the message names the directory",
  },
  {
    codes: ['dns-busy', 'dns-timeout', 'dns-closed', 'dns-unreachable', 'dns-malformed'],
    exit: EXIT.capture,
    meaning: 'a resolver gave no answer to one query; the client gets SERVFAIL',
  },
  {
    codes: ['launcher-version'],
    exit: EXIT.unexpected,
    meaning:
      'the installed launcher has another version; the message has the command that updates it',
  },
  {
    codes: ['launcher-privileges'],
    exit: EXIT.unexpected,
    meaning:
      "the program, or the command of `tunnel exec`, can't give up root's privileges, or `SUDO_UID` and `DOAS_USER` name no user, or different users",
  },
  {
    codes: ['launcher-failed'],
    exit: EXIT.unexpected,
    meaning: "the launcher of the command can't be run, or failed; the message says at which step",
  },
  {
    codes: ['namespace-refused', 'namespace-no-tun', 'namespace-network'],
    exit: EXIT.unexpected,
    meaning:
      "`exec --isolate` can't give the command its own network here; the hint says what would permit it",
  },
  {
    codes: ['command-not-found'],
    exit: EXEC_EXIT.notFound,
    meaning: 'there is no such command for `exec` to run',
  },
  {
    codes: ['command-not-executable'],
    exit: EXEC_EXIT.cannotExecute,
    meaning: "the command of `exec` exists, but can't be run",
  },
  {
    codes: [
      'openstack-config',
      'openstack-cloud',
      'openstack-region',
      'openstack-auth-url',
      'openstack-auth-type',
      'openstack-credentials',
      'openstack-url',
    ],
    exit: EXIT.usage,
    meaning: "a cloud's settings are wrong or incomplete: [list](openstack.md#when-it-fails)",
  },
  {
    codes: ['openstack-auth-failed'],
    exit: EXIT.authentication,
    meaning: 'Keystone refuses the credentials',
  },
  {
    codes: [
      'openstack-unreachable',
      'openstack-timeout',
      'openstack-not-allowed',
      'openstack-tls',
      'openstack-identity',
      'openstack-answer',
      'openstack-catalog',
    ],
    exit: EXIT.unexpected,
    meaning:
      "the cloud couldn't be asked, or gave no usable answer: [list](openstack.md#when-it-fails)",
  },
  {
    codes: ['system-limit', 'system-disk', 'system-permission'],
    exit: EXIT.unexpected,
    hinted: true,
    meaning:
      'the system refuses something: descriptors, memory or processes are used up, a disk is full or read-only, or a permission is missing; the message says what, and the hint what limits it',
  },
  {
    codes: ['no-such-tunnel'],
    exit: EXIT.usage,
    hinted: true,
    meaning: 'no running tunnel of this user has that name, or several have: `tunnel status`',
  },
  {
    codes: ['control-directory', 'control-request', 'control-failed', 'control-busy'],
    exit: EXIT.unexpected,
    hinted: true,
    meaning: 'a running tunnel could not be asked, or could not do it; the message says why',
  },
  {
    codes: ['metrics-unavailable'],
    exit: EXIT.unexpected,
    meaning: "metrics can't be served where `--metrics` says; the message says why",
  },
  {
    codes: ['output-failed', 'input-failed', 'connection-reset'],
    exit: EXIT.unexpected,
    meaning:
      "standard output can't be written, often because a disk is full; `nc`: standard input can't be read, or the connection was reset",
  },
  {
    codes: ['clean-incomplete'],
    exit: EXIT.unexpected,
    meaning: 'something that `tunnel clean` found could not be repaired; run it as root',
  },
  {
    codes: ['ssh2-changed'],
    exit: EXIT.unexpected,
    meaning: 'the ssh2 package has a version that this program does not support',
  },
  {
    codes: ['unexpected'],
    exit: EXIT.unexpected,
    meaning: 'a bug in the program: please report it, with the output of `-vv`',
  },
] as const satisfies readonly ErrorGroup[];

/** Stable and machine-readable, in kebab-case. */
export type ErrorCode = (typeof ERRORS)[number]['codes'][number];

/** Without a hint, such an error doesn't compile. */
export type HintedCode = Extract<
  (typeof ERRORS)[number],
  { readonly hinted: true }
>['codes'][number];

const EXIT_OF: ReadonlyMap<ErrorCode, ExitStatus> = new Map(
  ERRORS.flatMap(({ codes, exit }) => codes.map((code) => [code, exit] as const)),
);

/** The exit status of a run that an error with this code ends. */
export function exitStatusOf(code: ErrorCode): ExitStatus {
  return EXIT_OF.get(code) ?? EXIT.unexpected;
}
