/**
 * Translates a server's reason for not opening a channel (RFC 4254 §5.1) into a refusal. All SSH
 * transports share it, so their messages are the same.
 *
 *   text ─► a decision? ─► a name that isn't found, an errno or exception? ─► a phrase?
 *            WORDS, in this order                                            ─► the reason's rule
 *                                                                               RULES
 *
 * The text is asked first: many servers have one reason code for everything. What no row knows gets
 * the answer of the reason code, and the message has the server's own words. So an unknown text is
 * never told as something that it doesn't say.
 *
 * The rows come from what servers sent in tests (test/support/serverwords.ts has their words), and
 * from strerror(3) of glibc, musl, the BSDs and Windows.
 */

import { ConnectError, ServerShortError } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';

/** The reason codes of SSH_MSG_CHANNEL_OPEN_FAILURE. */
export const OPEN_FAILURE = {
  prohibited: 1,
  connectFailed: 2,
  unknownChannelType: 3,
  resourceShortage: 4,
} as const;

type Row = readonly [pattern: RegExp, refusal: Refusal];

/**
 * Python writes `[Errno 111]`, Rust `(os error 111)`, Windows `[WinError 10061]`. The numbers are
 * those of Linux, the BSDs with macOS, and Windows; connect(2) gives none with two meanings.
 */
const errno = (...numbers: readonly number[]): RegExp =>
  new RegExp(`\\b(?:errno|winerror|os error) (?:${numbers.join('|')})\\b`, 'i');

const BY_RULE = String.raw`by (?:the |an? |your )?(?:\w+ )?(?:policy|policies|administrator|admin|rules?|acl|firewall)`;

/** The first row that matches counts. */
const WORDS: readonly Row[] = [
  // A decision: before all others, since it may say what it was about ("policy lookup: denied").
  [/(?<!operation )(\bnot|n't) (allowed|permitted)\b|\b(un|not )authori[sz]ed\b/i, 'prohibited'],
  [/\b(prohibited|forbidden|blacklisted)\b|\bpolicy violation\b/i, 'prohibited'],
  [/\bnot (in|on) \w*\s?\w*(allow|white)-?list/i, 'prohibited'],
  [/\b(no|not have|n't have) permission\b|(^|[:;,] )(access |request )?denied\W*$/i, 'prohibited'],
  [/\b(access|forwarding)( to \S+)? (is |was )?denied\b|\b(is|was) denied\b/i, 'prohibited'],
  [new RegExp(String.raw`\b(?:denied|blocked|rejected|refused) ${BY_RULE}\b`, 'i'), 'prohibited'],
  // The name: before the others, since the text may say how the resolver failed.
  [/\bname resolution\b|\bresolv(e|ing|er)\b|\blookup \S/i, 'unreachable'],
  [
    /\b(name or service|nodename nor servname|no such host|host not found|name does not)\b/i,
    'unreachable',
  ],
  [
    /\bnxdomain\b|\bENOTFOUND\b|\bEAI_[A-Z]+|UnknownHost|UnresolvedAddress|\[Errno -\d/,
    'unreachable',
  ],
  // Codes: before the phrases, since "Forwarded connection refused: ehostunreach" has both.
  [/\beconnrefused\b/i, 'refused'],
  [errno(111, 61, 10061), 'refused'],
  [/\be?timedout\b/i, 'timeout'],
  [errno(110, 60, 10060), 'timeout'],
  [/\behost(unreach|down)\b|NoRouteToHost/i, 'unreachable'],
  [errno(112, 113, 64, 65, 10064, 10065), 'unreachable'],
  [/\benet(unreach|down)\b/i, 'no-network'],
  [errno(100, 101, 50, 51, 10050, 10051), 'no-network'],
  [errno(1, 13, 10013), 'prohibited'],
  // Phrases.
  [/(?<!forwarded )connection refused|actively refused/i, 'refused'],
  [/\btimed out\b|\btime-?out\b|deadline exceeded|did not properly respond/i, 'timeout'],
  [/Timeout(Error|Exception)\b/, 'timeout'],
  [/no route to host|host (is )?(unreachable|down)|unreachable host/i, 'unreachable'],
  [/network (is )?(unreachable|down)|unreachable network/i, 'no-network'],
  [/permission denied|operation not permitted|\be(perm|acces)\b/i, 'prohibited'],
  [/\bdisabled\b|\bdenied by\b/i, 'prohibited'],
];

/** What an application gets when the words are not in the table. */
const RULES: ReadonlyMap<number | undefined, Refusal> = new Map<number, Refusal>([
  [OPEN_FAILURE.prohibited, 'prohibited'],
  [OPEN_FAILURE.connectFailed, 'refused'],
  [OPEN_FAILURE.unknownChannelType, 'prohibited'],
  [OPEN_FAILURE.resourceShortage, 'refused'],
]);
/** For reason codes that RFC 4254 doesn't have, as Apache MINA SSHD sends 0. */
const OTHER_CODES: Refusal = 'refused';

/** sshd's only text when connect() fails at once, or when it has no descriptors left. */
const OPENSSH_AT_ONCE = 'open failed';

/** For answers that don't tell: which of these it is, only the server knows. */
const UNTOLD_HINT =
  "the server gives no reason: the port may be closed, the host out of its reach, the name unknown there, or the destination not permitted; the server's own log may tell";
const PERMISSION_HINT =
  'see what the jump host permits: with OpenSSH AllowTcpForwarding and PermitOpen in its sshd_config, and permitopen in authorized_keys';

/**
 * `reason`: one of OPEN_FAILURE, or anything else that a server may send. `text`: the server's
 * text, printable.
 */
export function openFailure(
  destination: Destination,
  reason: number | undefined,
  text: string,
  cause?: unknown,
): ConnectError {
  const to = formatDestination(destination);
  if (reason === OPEN_FAILURE.connectFailed && text === OPENSSH_AT_ONCE)
    return new ServerShortError(
      'unreachable',
      `${to}: no route at the jump host, or no descriptors left`,
      { cause },
    );
  const words = withoutName(text, destination.host);
  const told = WORDS.find(([pattern]) => pattern.test(words))?.[1];
  const refusal = told ?? RULES.get(reason) ?? OTHER_CODES;
  if (refusal === 'prohibited') {
    const said = text === '' ? '' : ` (${text})`;
    return new ConnectError(refusal, `the jump host does not permit ${to}${said}`, {
      hint: PERMISSION_HINT,
      cause,
    });
  }
  if (told !== undefined) return new ConnectError(refusal, `${to}: ${text}`, { cause });
  const Refused = reason === OPEN_FAILURE.resourceShortage ? ServerShortError : ConnectError;
  return new Refused(refusal, `${to}: ${byReason(reason, text)}`, { hint: UNTOLD_HINT, cause });
}

/** The destination's own name says nothing, even if it is timeout.example.com. */
function withoutName(text: string, host: string): string {
  if (!host.includes('.')) return text;
  const name = host.replace(/[^a-z0-9]/gi, '\\$&');
  return text.replace(new RegExp(`(?<![\\w.-])${name}(?![\\w-])`, 'gi'), '*');
}

/** For texts that don't tell. */
function byReason(reason: number | undefined, text: string): string {
  const said = text === '' ? 'does not say why' : `says only "${text}"`;
  if (reason === OPEN_FAILURE.connectFailed) return `the jump host could not connect, and ${said}`;
  if (reason === OPEN_FAILURE.resourceShortage)
    return `the jump host is short of something or forwards nothing (reason 4), and ${said}`;
  return `the jump host opens no channel (reason ${reason ?? 'unknown'}), and ${said}`;
}
