/**
 * Which values ssh takes for a keyword, as far as a tunnel has to know (readconf.c). ssh refuses a
 * file with any other, also in a section that doesn't apply.
 */
import { UsageError } from '../../errors/errors.ts';
import { parseForward, parseListen, RemoteSocketError } from '../../net/forward.ts';
import { quoted } from '../../net/notation.ts';
import { MAX_PORT } from '../../net/ports.ts';
import { tcpServicePort } from '../../system/services.ts';
import type { Remote } from '../options.ts';
import { parseJump } from '../remote.ts';
import type { Directive } from './syntax.ts';

/** As many as ssh takes (SSH_MAX_HOSTS_FILES). */
const MAX_HOSTS_FILES = 32;

const YES_NO = 'true false yes no';
/** One of these words, in any case. */
const CHOICES: Readonly<Record<string, string>> = {
  addressfamily: 'inet inet6 any',
  canonicalizehostname: `${YES_NO} always`,
  compression: 'yes no',
  controlmaster: `${YES_NO} auto ask autoask`,
  fingerprinthash: 'md5 sha1 sha256 sha384 sha512',
  pubkeyauthentication: `${YES_NO} unbound host-bound`,
  requesttty: `${YES_NO} force auto`,
  sessiontype: 'none subsystem default',
  stricthostkeychecking: `${YES_NO} ask off accept-new`,
  tunnel: `${YES_NO} ethernet point-to-point`,
  updatehostkeys: `${YES_NO} ask`,
  verifyhostkeydns: `${YES_NO} ask`,
};
const FLAGS = words(`batchmode canonicalizefallbacklocal checkhostip clearallforwardings
  enableescapecommandline enablesshkeysign exitonforwardfailure forkafterauthentication forwardx11
  forwardx11trusted gatewayports gssapiauthentication gssapidelegatecredentials hashknownhosts
  hostbasedauthentication identitiesonly kbdinteractiveauthentication
  nohostauthenticationforlocalhost passwordauthentication permitlocalcommand proxyusefdpass
  stdinnull streamlocalbindunlink tcpkeepalive visualhostkey`);
const NUMBERS = words(`canonicalizemaxdots connectionattempts numberofpasswordprompts
  requiredrsasize serveralivecountmax`);
const TIMES = words('connecttimeout serveraliveinterval');
/** A name, a path, or a list without spaces. */
const SINGLE = words(`bindaddress bindinterface casignaturealgorithms certificatefile ciphers
  hostbasedacceptedalgorithms hostkeyalgorithms hostkeyalias hostname identityagent identityfile
  ignoreunknown kexalgorithms macs pkcs11provider preferredauthentications
  pubkeyacceptedalgorithms securitykeyprovider user`);
const PATH_LISTS = words('globalknownhostsfile revokedhostkeys userknownhostsfile');
/** Everything up to the end of the line. */
const WHOLE_LINE = words(
  'knownhostscommand localcommand proxycommand proxyjump remotecommand refuseconnection',
);

const TIME = /^([0-9]+[smhdw]?)+$/i;
const LARGEST = 2 ** 31 - 1;

function words(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/));
}

/** A number, or the name of a TCP service (misc.c, a2port). undefined: neither. */
export function portOf(text: string): number | undefined {
  if (!/^\+?[0-9]+$/.test(text)) return tcpServicePort(text);
  const port = Number(text);
  return port > 0 && port <= MAX_PORT ? port : undefined;
}

export function isPathList(keyword: string): boolean {
  return PATH_LISTS.has(keyword);
}

/** The value of ProxyJump: the rest of the line up to a comment. */
export function jumpText({ rest }: Directive): string {
  return rest.replace(/#.*$/s, '').trimEnd();
}

/** Parses it. Unlike -J it may have services as ports. Throws UsageError. */
export function parseConfiguredJump(text: string, keyword: string): Remote[] {
  const hops = text.split(',').map(withNumberedPort);
  return parseJump(hops.join(), { kind: 'ssh-config', keyword });
}

/** `ssh -G` prints numbers only for the last hop. */
function withNumberedPort(hop: string): string {
  return hop.replace(/:([^:@/\]\s]+)(?=\/?\s*$)/, (written, port) => {
    const number = portOf(port);
    return number === undefined ? written : `:${number}`;
  });
}

/** Whether the value is the rest of the line, as it is written. */
export function isWholeLine(keyword: string): boolean {
  return WHOLE_LINE.has(keyword);
}

/** Whether ssh takes `none` for this keyword as if the line weren't there. */
export function isNoValue(keyword: string, value: string): boolean {
  return TIMES.has(keyword) && value === 'none';
}

/** `keyword`: its present name. Throws UsageError. */
export function checkValue(keyword: string, directive: Directive, place: string): void {
  if (keyword === 'proxyjump') {
    parseConfiguredJump(jumpText(directive), `${place}: ProxyJump`);
    return;
  }
  if (isWholeLine(keyword)) return;
  const { keyword: written, args } = directive;
  const [value = ''] = args;
  const known = expected(keyword);
  if (known === undefined) return;
  if (args.some((arg) => arg === '') || args.length === 0)
    throw new UsageError(`${place}: ${written} has no value`, {
      hint: 'a line is "Keyword value"',
    });
  if (args.length > known.most)
    throw new UsageError(`${place}: ${written} has more than one value`, {
      hint: 'quote a value that has spaces, and write a list without spaces, as in: a,b,c',
    });
  if (!known.takes(value, args))
    throw new UsageError(`${place}: ${written} has no value ${quoted(args.join(' '))}`, {
      hint: known.form ?? '"man ssh_config" lists its values',
    });
}

/** Also those that ssh takes, and a tunnel can't open (forwards.ts). */
function isForward(text: string): boolean {
  try {
    const { listen } = parseForward(text, tcpServicePort);
    return listen.kind === 'socket' || listen.port > 0;
  } catch (error) {
    return error instanceof RemoteSocketError;
  }
}

function isListen(text: string): boolean {
  try {
    const listen = parseListen(text, tcpServicePort);
    return listen.kind === 'socket' || listen.port > 0;
  } catch {
    return false; // NotationError
  }
}

interface Expected {
  /** Values on the line. */
  readonly most: number;
  readonly takes: (value: string, values: readonly string[]) => boolean;
  /** The hint for another value. */
  readonly form?: string;
}

function expected(keyword: string): Expected | undefined {
  const choices = FLAGS.has(keyword) ? YES_NO : CHOICES[keyword];
  if (choices !== undefined)
    return { most: 1, takes: (value) => choices.split(' ').includes(value.toLowerCase()) };
  if (NUMBERS.has(keyword))
    return { most: 1, takes: (value) => /^[0-9]+$/.test(value) && Number(value) <= LARGEST };
  if (TIMES.has(keyword))
    return { most: 1, takes: (value) => value === 'none' || TIME.test(value) };
  if (keyword === 'port')
    return {
      most: 1,
      takes: (value) => portOf(value) !== undefined,
      form: `write a number from 1 to ${MAX_PORT}, or a TCP service that /etc/services has`,
    };
  if (keyword === 'rekeylimit')
    return {
      most: 2,
      takes: (size, [, time = 'none']) =>
        /^(default|[0-9]+[kmg]?)$/i.test(size) && (time === 'none' || TIME.test(time)),
    };
  if (keyword === 'localforward')
    return {
      most: 2,
      takes: (listen, [, destination = '']) => isForward(`${listen}:${destination}`),
      form: 'write a port and a destination, as in: LocalForward 8080 db.internal:5432',
    };
  if (keyword === 'dynamicforward')
    return { most: 1, takes: isListen, form: 'write a port, as in: DynamicForward 1080' };
  if (PATH_LISTS.has(keyword))
    return {
      most: MAX_HOSTS_FILES,
      takes: (_, values) =>
        values.length === 1 || !values.some((value) => value.toLowerCase() === 'none'),
    };
  return SINGLE.has(keyword) ? { most: 1, takes: () => true } : undefined;
}
