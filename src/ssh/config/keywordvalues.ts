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
import { isAlgorithmList } from './algorithms.ts';
import { type Expected, IGNORED_VALUES, isAgent, isTime, LARGEST } from './ignoredvalues.ts';
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
const ALGORITHM_LISTS = words(`casignaturealgorithms ciphers hostbasedacceptedalgorithms
  hostkeyalgorithms kexalgorithms macs pubkeyacceptedalgorithms`);
const TIMES = words('connecttimeout serveraliveinterval');
/** A name, a path, or a list without spaces. */
const SINGLE = words(`bindaddress bindinterface certificatefile hostkeyalias hostname identityfile
  ignoreunknown pkcs11provider preferredauthentications securitykeyprovider user`);
const PATH_LISTS = words('globalknownhostsfile revokedhostkeys userknownhostsfile');
/** Everything up to the end of the line. */
const WHOLE_LINE = words(
  'knownhostscommand localcommand proxycommand proxyjump remotecommand refuseconnection',
);

/** As ssh reads it (strtonum): `+3` as well. */
export const NUMBER = /^\+?[0-9]+$/;
/** Fewer bytes are no limit that ssh takes. */
const LEAST_REKEY_BYTES = 16;
const SCALES = 'bkmgtpe';

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

/** Bytes: `1G`, `1.5g`, `4096` (scan_scaled). undefined: it isn't one. */
export function scaledBytes(text: string): number | undefined {
  const [whole, count = '', fraction = '', scale = ''] =
    /^\+?([0-9]*)(?:\.([0-9]*))?([bkmgtpe]?)$/i.exec(text) ?? [];
  if (whole === undefined || text === '') return undefined;
  const factor = 1024 ** Math.max(0, SCALES.indexOf(scale.toLowerCase()));
  // Without a scale, the fraction is dropped.
  const number = scale === '' ? Number(count) : Number(`${count || 0}.${fraction || 0}`);
  const bytes = Math.floor(number * factor);
  return bytes < 2 ** 63 ? bytes : undefined;
}

/** A command, or hops: ssh passes over all spaces and `=` before it. */
export function wholeLine({ rest }: Directive): string {
  return rest.replace(/^[ \t\r\n=]+/, '');
}

/** The value of ProxyJump: the rest of the line up to a comment. */
export function jumpText(directive: Directive): string {
  return wholeLine(directive).replace(/#.*$/s, '').trimEnd();
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

/**
 * What -J takes, and ssh doesn't. Of `a b,c` ssh takes `a` up to version 10.2, and then a host with
 * a space. Throws UsageError.
 */
function refuseLooseJump(text: string, place: string): void {
  if (/\s/.test(text))
    throw new UsageError(`${place}: ProxyJump ${quoted(text)} has a space in it`, {
      hint: 'write the hosts without spaces, as in: ProxyJump a,b',
    });
  const hosts = text.split(',').map((hop) => hop.replace(/^(ssh:\/\/)?(.*@)?/, ''));
  if (!hosts.some((host) => !host.startsWith('[') && /:.*:/.test(host))) return;
  throw new UsageError(`${place}: ProxyJump ${quoted(text)} has an address without brackets`, {
    hint: 'write an IPv6 address as in: ProxyJump [2001:db8::1]',
  });
}

/** `keyword`: its present name. Throws UsageError. */
export function checkValue(keyword: string, directive: Directive, place: string): void {
  if (keyword === 'proxyjump') {
    refuseLooseJump(jumpText(directive), place);
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

/** Unlike the others, it may have one word (a SOCKS proxy at the jump host), and port 0. */
function isRemoteForward(listen: string, destination: string | undefined): boolean {
  try {
    if (destination === undefined) parseListen(listen, tcpServicePort);
    else parseForward(`${listen}:${destination}`, tcpServicePort);
    return true;
  } catch (error) {
    return error instanceof RemoteSocketError;
  }
}

function expected(keyword: string): Expected | undefined {
  const choices = FLAGS.has(keyword) ? YES_NO : CHOICES[keyword];
  if (choices !== undefined)
    return { most: 1, takes: (value) => choices.split(' ').includes(value.toLowerCase()) };
  if (NUMBERS.has(keyword))
    return { most: 1, takes: (value) => NUMBER.test(value) && Number(value) <= LARGEST };
  if (ALGORITHM_LISTS.has(keyword))
    return {
      most: 1,
      takes: (value) => isAlgorithmList(keyword, value),
      form: 'write names that OpenSSH has, without spaces, as in: a,b,c; patterns only after "-"',
    };
  if (TIMES.has(keyword)) return { most: 1, takes: (value) => value === 'none' || isTime(value) };
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
        (size === 'default' || isRekeyLimit(scaledBytes(size))) &&
        (time === 'none' || isTime(time)),
      form: `write at least ${LEAST_REKEY_BYTES} bytes, and a time if you like: RekeyLimit 1G 1h`,
    };
  if (keyword === 'remoteforward')
    return {
      most: 2,
      takes: (listen, [, destination]) => isRemoteForward(listen, destination),
      form: 'write a port and a destination, as in: RemoteForward 8080 localhost:80',
    };
  if (keyword === 'identityagent') return { most: 1, takes: isAgent };
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
  return SINGLE.has(keyword) ? { most: 1, takes: () => true } : IGNORED_VALUES[keyword];
}

function isRekeyLimit(bytes: number | undefined): boolean {
  return bytes !== undefined && (bytes === 0 || bytes >= LEAST_REKEY_BYTES);
}
