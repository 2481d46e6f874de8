/**
 * Turns the output of ssh into the program's errors, with the codes that the embedded transport
 * uses. ssh writes why it gives up to its log. The hops of -J and a ProxyCommand write to stderr,
 * but the server's banner appears there too. So the log is searched first, and stderr only if it
 * can't contain the jump host's banner yet.
 */
import { TunnelError } from '../../errors/errors.ts';
import { formatDestination } from '../../net/destination.ts';
import { closedUnidentified, notSsh, turnedAway } from '../dial/notssh.ts';
import { endedCode } from '../dial/proxycommand.ts';
import { slowError, timeoutError } from '../dial/tcp.ts';
import { PORT_OF, type Role } from '../hops.ts';
import { fingerprintCommand } from '../keys/publickey.ts';
import { algorithmNames, MAX_SERVER_TEXT, serverText } from '../servertext.ts';
import type { Phase } from './log.ts';
import { type Exit, notRunHint } from './process.ts';
import { authFailed } from './refusedlogin.ts';
import type { Diagnosis, StartFailure } from './startfailure.ts';

type Rule = readonly [
  pattern: RegExp,
  diagnose: (match: RegExpExecArray, failure: StartFailure) => Diagnosis,
];

const LIMITS = 'it may limit connections (MaxStartups, PerSourcePenalties)';

/** ssh's names for the lists of RFC 4253 §7.1, and the keywords that set them. */
const LIST_KEYWORDS: Readonly<Record<string, string>> = {
  'key exchange method': 'KexAlgorithms',
  'host key type': 'HostKeyAlgorithms',
  cipher: 'Ciphers',
  MAC: 'MACs',
  'compression method': 'Compression',
};

/** What a name is called that ssh, one for a host on the way, or a ProxyCommand can't resolve. */
function unresolved(name: string, { at, byCommand, throughHops }: StartFailure): string {
  if (throughHops) return `the name ${name} of a host on the way to ${at}`;
  return byCommand
    ? `the name ${name} in the ProxyCommand of ${at}`
    : `the jump host's name ${name}`;
}

/** The first rule that matches one of the lines gives the cause. */
const RULES: readonly Rule[] = [
  [
    /REVOKED HOST KEY|host key for .* was revoked|Host key .* revoked by/i,
    (_match, failure) => revoked(failure),
  ],
  [
    /^Bad server host key: /,
    ({ input }, { at }) => ({
      code: 'host-key-weak',
      message: `the host key of ${at} is refused: ${serverText(input)} (RequiredRSASize)`,
      hint: 'have the jump host make a longer key, or one of another type (ssh-keygen -A)',
    }),
  ],
  [
    /^(Error checking host key .* in revoked keys file .*|KnownHostsCommand failed.*)/,
    ({ input }, { at }) => ({
      code: 'host-key-unchecked',
      message: `the host key of ${at} can't be checked, so it is not accepted: ${serverText(input)}`,
      hint: 'correct what RevokedHostKeys or KnownHostsCommand in ssh_config names',
    }),
  ],
  [
    /Host key for .* has changed|HOST IDENTIFICATION HAS CHANGED/,
    (_match, failure) => changed(failure),
  ],
  [
    /Host key verification failed|No .* host key is known for/,
    (_match, failure) => unknown(failure),
  ],
  [
    /Could not resolve hostname ([^:]+): (.*)/,
    ([, host = '', why = ''], failure) => ({
      code: 'jumphost-dns',
      message: `${unresolved(serverText(host), failure)} can't be resolved: ${serverText(why)}`,
      hint: 'check the spelling and the resolver of this machine',
    }),
  ],
  [
    /no matching (.+) found\. Their offer: (.*)/,
    ([, list = '', offer = ''], { at }) => ({
      code: 'jumphost-no-common-algorithm',
      message: `${at} and ssh have no ${serverText(list)} in common; it offers ${algorithmNames(offer)}`,
      hint: `update sshd on the jump host, or allow one of these with -o ${LIST_KEYWORDS[list] ?? 'KexAlgorithms'}=+NAME`,
    }),
  ],
  [
    /Permission denied \(|Too many authentication failures|No more authentication methods/,
    authFailed,
  ],
  [
    /connect to host (\S+) port (\d+): (.*)/,
    ([, host = '', port = '', why = ''], { throughHops }) =>
      connectFailed(
        formatDestination({ host: serverText(host), port: Number(port) }),
        // With hops, ssh itself connects only to the first one.
        throughHops ? 'hop' : 'jump host',
        serverText(why),
      ),
  ],
  [
    /timed out during banner exchange|^Connection to .* timed out|^Timeout, server .* not responding/,
    (_match, { at, phase, accepted, seconds }) =>
      (accepted ? slowError : timeoutError)(at, seconds, phase),
  ],
  [
    /Bad remote protocol version|banner line contains invalid|No SSH version received|protocol identif|Protocol major versions differ/i,
    (_match, failure) => spokenNotSsh(failure),
  ],
  [
    /[Rr]eceived disconnect from \S+ port \S+?:\s*\d+: (.*)/,
    ([, text = ''], { at, phase }) =>
      closed(at, phase, `: the jump host says "${serverText(text, MAX_SERVER_TEXT)}"`),
  ],
  [
    /Bad configuration option|terminating, \d+ bad|Bad .* spec|Unsupported option|Missing argument|garbage at end of line|Can't open user config/,
    ({ input }) => ({
      code: 'openssh-configuration',
      message: `ssh does not accept its configuration: ${serverText(input)}`,
      hint: 'fix the setting that it names; "ssh -G HOST" shows the same error',
    }),
  ],
  [
    /: incorrect signature$/,
    (_match, { at, hostKey }) => ({
      code: 'jumphost-key-exchange',
      message: `${at} does not prove that it has the host key that it shows: ${serverText(hostKey ?? '(unknown)')}`,
      hint: 'its SSH server is faulty, or somebody in between interferes: ask whoever runs it',
    }),
  ],
  [
    /^(?:ssh_dispatch_run_fatal: .*: )?((?:invalid format|message authentication code incorrect|incomplete message|string is too large|error in libcrypto|Bad packet length|Corrupted MAC|padding error|Packet corrupt).*)/,
    ([, what = ''], { at, phase }) => ({
      code: 'jumphost-protocol',
      message: `${at} breaks the rules of SSH in ${phase}: ${serverText(what)}`,
      hint: 'its SSH server is faulty or hostile, or somebody changes what it sends',
    }),
  ],
  [
    /(?:Address already in use|cannot listen|Could not request local forwarding)/i,
    ({ input }) => ({
      code: 'openssh-failed',
      message: `ssh can't listen for flows: ${serverText(input)}`,
      hint: 'check that the file system of its directory supports sockets (XDG_RUNTIME_DIR, TMPDIR)',
    }),
  ],
];

/** Used only if no other rule matches. */
const CLOSED_WITHOUT_WORDS: Rule = [
  /Connection (?:closed|reset) by|kex_exchange_identification: (?:Connection closed|read: )|banner exchange|Broken pipe/,
  (_match, failure) =>
    failure.byCommand && failure.phase === 'identification'
      ? proxyEnded(failure)
      : closedWithoutWords(failure),
];

/** The error for an ssh that ended before it was ready. */
export function startError(failure: StartFailure): TunnelError {
  if (failure.exit.status === 127 || failure.exit.status === 126) {
    return make(failure, {
      code: 'openssh-not-found',
      message: `ssh can't be run: ${serverText(failure.stderr.at(-1) ?? 'not found')}`,
      hint: notRunHint(failure.custom),
    });
  }
  if (
    failure.greeting !== undefined &&
    failure.phase === 'identification' &&
    isWords(failure.greeting)
  )
    return make(failure, spokenNotSsh(failure));
  // The banner comes during authentication (RFC 4252 §5.4), and its text may match any rule.
  const early = failure.phase === 'identification' || failure.phase === 'key exchange';
  const stderr = early ? failure.stderr : [];
  for (const [rules, lines] of [
    [RULES, failure.lines],
    [RULES, stderr],
    [[CLOSED_WITHOUT_WORDS], [...failure.lines, ...stderr]],
  ] as const) {
    const diagnosis = firstDiagnosis(rules, lines, failure);
    if (diagnosis !== undefined) return make(failure, diagnosis);
  }
  const last = failure.lines.at(-1) ?? failure.stderr.at(-1);
  const how = failure.exit.signal ?? `status ${failure.exit.status}`;
  const reason = last === undefined ? '' : `: ${serverText(last)}`;
  return make(failure, {
    code: 'openssh-failed',
    message: `ssh to ${failure.at} ended with ${how} before it was ready${reason}`,
    hint: 'try the same with "ssh -v"',
  });
}

function firstDiagnosis(
  rules: readonly Rule[],
  lines: readonly string[],
  failure: StartFailure,
): Diagnosis | undefined {
  for (const [pattern, diagnose] of rules) {
    for (const line of lines) {
      const match = pattern.exec(line);
      if (match !== null) return diagnose(match, failure);
    }
  }
  return undefined;
}

function make(failure: StartFailure, { code, message, hint }: Diagnosis): TunnelError {
  const output = [...failure.lines, ...failure.stderr].map((line) => serverText(line)).join('\n');
  const cause = new Error(`ssh said: ${output}`);
  return new TunnelError(code, message, hint === undefined ? { cause } : { hint, cause });
}

/** Whether it is text from the server, and not ssh's own message about the connection. */
function isWords(greeting: string): boolean {
  return (
    !/^(Connection closed|read: |write: |Connection reset)/.test(greeting) &&
    turnedAway('', greeting) === undefined
  );
}

function connectFailed(at: string, role: Role, why: string): Diagnosis {
  if (/refused/i.test(why))
    return {
      code: 'jumphost-refused',
      message: `${at} refused the connection`,
      hint: `check ${PORT_OF[role]}, and that sshd runs there`,
    };
  if (/reset by peer/i.test(why)) return described(closedUnidentified(at));
  if (/timed out/i.test(why))
    return {
      code: 'jumphost-timeout',
      message: `${at} does not answer`,
      hint: 'check the address, and that no firewall drops the connection',
    };
  return {
    code: 'jumphost-unreachable',
    message: `${at} can't be reached (${why})`,
    hint: "check this machine's network and its route to the jump host",
  };
}

/** Except for those that sshd may have sent in place of its identification. */
function closedWithoutWords({ at, phase, greeting = '' }: StartFailure): Diagnosis {
  if (phase !== 'identification') return closed(at, phase, '');
  return described(turnedAway(at, serverText(greeting)) ?? closedUnidentified(at));
}

function closed(at: string, phase: Phase, words: string): Diagnosis {
  const when = phase === 'identification' ? 'before it said anything about SSH' : `during ${phase}`;
  return {
    code: 'jumphost-closed',
    message: `${at} closed the connection ${when}${words}`,
    hint: `try again later, or check the log of sshd on the jump host; ${LIMITS}`,
  };
}

/** A ProxyCommand writes to stderr. The server's banner goes there too, but not this early. */
function proxyEnded({ stderr }: StartFailure): Diagnosis {
  const last = stderr.at(-1);
  return {
    code: endedCode(last),
    message: `the ProxyCommand has ended${last === undefined ? '' : `; it says "${serverText(last)}"`}`,
    hint: 'run the command alone: it must connect its standard input and output to sshd',
  };
}

function described({ code, message, hint }: TunnelError): Diagnosis {
  return { code, message, hint };
}

function spokenNotSsh({ at, greeting }: StartFailure): Diagnosis {
  const line =
    greeting === undefined ? 'something that ssh does not show' : serverText(greeting, 120);
  return described(notSsh(at, 'jump host', line));
}

function revoked({ at, hostKey }: StartFailure): Diagnosis {
  return {
    code: 'host-key-revoked',
    message: `${at} shows the host key ${serverText(hostKey ?? '(unknown)')}, which is marked as revoked`,
    hint: 'do not connect: ask whoever runs the jump host for its new key',
  };
}

function changed(failure: StartFailure): Diagnosis {
  const { at, hostKey, lines } = failure;
  if (failure.pins.length > 0) return notPinned(failure);
  const place = lines
    .map((line) => /Offending .*key in (.+):(\d+)/.exec(line))
    .find((match) => match !== null);
  const known =
    place === undefined ? '' : `, but ${serverText(place[1] ?? '')}:${place[2]} has another`;
  return {
    code: 'host-key-changed',
    message: `the host key of ${at} has changed: it shows ${serverText(hostKey ?? '(unknown)')}${known}`,
    hint: 'somebody may be listening in; if the jump host was reinstalled, verify the new fingerprint there, then remove the old key with ssh-keygen -R',
  };
}

function notPinned({ at, hostKey, pins }: StartFailure): Diagnosis {
  return {
    code: 'host-key-changed',
    message: `${at} shows the host key ${serverText(hostKey ?? '(unknown)')}, but --host-key pins ${pins.join(', ')}`,
    hint: 'do not connect unless you can explain it: either the pin is out of date or this is another machine',
  };
}

function unknown(failure: StartFailure): Diagnosis {
  const { at, lines } = failure;
  if (failure.pins.length > 0) return notPinned(failure);
  const shown = serverText(failure.hostKey ?? '(unknown)');
  const why = lines
    .map((line) => /^Certificate invalid: (.*)/.exec(line)?.[1])
    .find((text) => text !== undefined);
  const certificate =
    why === undefined ? '' : ` (its certificate is not accepted: ${serverText(why)})`;
  return {
    code: 'host-key-unknown',
    message: `the host key of ${at} is not known: ${shown}${certificate}`,
    hint: `compare it with "${fingerprintCommand(failure.hostKey?.split(' ')[0])}" run on the jump host; if it is the same, pass --host-key ${fingerprintIn(failure.hostKey)}, or connect once with ssh`,
  };
}

function fingerprintIn(hostKey: string | undefined): string {
  return /SHA256:[A-Za-z0-9+/]+/.exec(hostKey ?? '')?.[0] ?? 'SHA256:...';
}

const SILENT = /^Timeout, server .* not responding/;
const CLOSED = /closed by remote host/;

/** How many of the last lines may contain the reason. */
const LAST_LINES = 8;

/**
 * The error for a connection that was up. `lines`: of the log; `stderr`: since it came up. It has
 * no cause if the server closed the connection in an orderly way (ssh/transport.ts).
 */
export function linkLostError(
  at: string,
  lines: readonly string[],
  stderr: readonly string[],
  exit: Exit,
): TunnelError {
  const tail = [lines, stderr].flatMap((output) => output.slice(-LAST_LINES).reverse());
  const lost = (why: string, cause?: Error): TunnelError => lostError(at, why, cause);
  const cause = new Error(`ssh said: ${tail.map((line) => serverText(line)).join('\n')}`);
  if (tail.some((line) => SILENT.test(line)))
    return lost('the jump host no longer answers keepalives', cause);
  if (tail.some((line) => CLOSED.test(line))) return lost('the jump host closed the connection');
  const last = tail.find((line) =>
    /disconnect|reset|Broken pipe|closed|failed|timed out/i.test(line),
  );
  const ended =
    exit.signal === null
      ? `ssh ended with status ${exit.status}`
      : `ssh was ended by ${exit.signal}`;
  return lost(last === undefined ? ended : serverText(last), cause);
}

/** For a server that was given up, although ssh was still running (serverlife.ts). */
export function serverSilentError(at: string, why: string): TunnelError {
  return lostError(at, why, new Error(why));
}

function lostError(at: string, why: string, cause?: Error): TunnelError {
  return new TunnelError('link-lost', `the connection to ${at} is lost: ${why}`, {
    hint: 'check the network, and the log of sshd on the jump host',
    cause,
  });
}
