/**
 * The options of the proxies: where they listen, who may use them, and what they carry.
 *
 * Whoever is served by a proxy can use the jump host through it. So a proxy listens on loopback
 * unless another address is given, and serves the processes of its own user only (--proxy-shared:
 * of all users). Another address needs either names of users (--proxy-auth) or the user's explicit
 * consent (--allow-remote-clients). Who has a name and a password may be any user.
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { readAtMost } from '../base/boundedread.ts';
import { UsageError } from '../errors/errors.ts';
import { fileHintOf, fileReasonOf } from '../errors/reason.ts';
import { canonicalAddress, isAddress } from '../net/address.ts';
import { formatDestination } from '../net/destination.ts';
import { NotationError, quoted } from '../net/notation.ts';
import { formatPlace, type Place, readAt } from '../net/place.ts';
import { parsePort } from '../net/ports.ts';
import { parsePrefix, prefixContains } from '../net/prefix.ts';
import { closeToOthersHint } from '../system/ownfile.ts';
import type { ProxyListenAddress, ProxyOptions } from './configuration.ts';
import {
  asText,
  type Given,
  type GivenOptions,
  once,
  type Reader,
  readOptions,
  repeated,
  toggle,
} from './option.ts';

/** Users know it from ssh -D, and other programs expect a SOCKS server there. */
export const DEFAULT_PROXY_PORT = 1080;
/** RFC 1929 §2: lengths are one octet. */
const MAX_CREDENTIAL_BYTES = 255;
const MAX_CREDENTIALS_FILE_BYTES = 1024 * 1024;

const LOOPBACK_HOSTS = ['127.0.0.1', '::1'] as const;
const ALL_HOSTS = ['0.0.0.0', '::'] as const;
const LOOPBACK = [parsePrefix('127.0.0.0/8').prefix, parsePrefix('::1').prefix];

type ListenPlace = Omit<ProxyListenAddress, 'ownUserOnly'>;

export const PROXY_OPTIONS = {
  heading: 'Proxies:',
  options: {
    listen: repeated(
      '--listen <address:port>',
      'a proxy that speaks SOCKS (4, 4a, 5) and HTTP (repeatable)',
      listen('--listen', 'both'),
    ),
    socks: repeated(
      '--socks <address:port>',
      'a proxy that speaks SOCKS only (repeatable)',
      listen('--socks', 'socks'),
    ),
    http: repeated(
      '--http <address:port>',
      'a proxy that speaks HTTP only (repeatable)',
      listen('--http', 'http'),
    ),
    onlyTargets: toggle(
      '--only-targets',
      'proxies refuse all but targets, instead of dialling the rest from here',
    ),
    proxyAuth: once(
      '--proxy-auth <file>',
      'who may use the proxies: lines of user:password',
      asText,
    ),
    proxyShared: toggle(
      '--proxy-shared',
      "proxies on loopback serve all users of this machine, not only tunnel's own",
    ),
    allowRemoteClients: toggle(
      '--allow-remote-clients',
      'proxies without --proxy-auth may listen on any address',
    ),
  },
} as const;

/** `wanted`: there is always a proxy. Returns undefined for no proxy. Throws UsageError. */
export function readProxyOptions(given: GivenOptions, wanted: boolean): ProxyOptions | undefined {
  const options = readOptions(PROXY_OPTIONS, given);
  const { proxyAuth, proxyShared, allowRemoteClients, onlyTargets } = options;
  const places = [...options.listen, ...options.socks, ...options.http].map(({ value }) => value);
  if (places.length === 0) {
    if (!wanted) {
      requireNone([proxyAuth?.place, proxyShared, allowRemoteClients, onlyTargets]);
      return undefined;
    }
    places.push({ hosts: [LOOPBACK_HOSTS[0]], port: DEFAULT_PROXY_PORT, protocols: 'both' });
  }
  refuseSameAddress(places);
  const credentials = proxyAuth === undefined ? [] : readCredentials(proxyAuth);
  const remote = places.flatMap(({ hosts }) => hosts).find((host) => !isLoopback(host));
  if (remote !== undefined && credentials.length === 0 && allowRemoteClients === undefined) {
    throw new UsageError(
      `${remote} is not a loopback address: anybody who can connect to it could use the jump host`,
      {
        hint: 'name users with --proxy-auth FILE, or give --allow-remote-clients if everybody may use it',
      },
    );
  }
  const anyUser = credentials.length > 0 || proxyShared !== undefined;
  return {
    listens: places.map((place) => ({
      ...place,
      ownUserOnly: !anyUser && place.hosts.every(isLoopback),
    })),
    onlyTargets: onlyTargets !== undefined,
    credentials,
    remoteClients: remote !== undefined,
  };
}

/** The second one would find its port in use, by the first. */
function refuseSameAddress(places: readonly ListenPlace[]): void {
  const addresses = places.flatMap(({ hosts, port }) =>
    port === 0 ? [] : [...hosts].map((host) => formatDestination({ host, port })),
  );
  const twice = addresses.find((address, index) => addresses.indexOf(address) !== index);
  if (twice === undefined) return;
  throw new UsageError(`two proxies are to listen on ${twice}`, {
    hint: 'give each another port; one proxy of --listen speaks both SOCKS and HTTP',
  });
}

function requireNone(places: readonly (Place | undefined)[]): void {
  const place = places.find((given) => given !== undefined);
  if (place === undefined) return;
  throw new UsageError(`${formatPlace(place)} belongs to a proxy, and none is asked for`, {
    hint: 'add one with --listen, --socks or --http, or leave the option out',
  });
}

/** `1080`, `127.0.0.1:1080`, `[::1]:1080`, `localhost:1080`, `*:1080`. */
function listen(option: string, protocols: ProxyListenAddress['protocols']): Reader<ListenPlace> {
  const form = `write ADDRESS:PORT or PORT, as in: ${option} 127.0.0.1:1080`;
  return (text, place) =>
    readAt(place, text, form, () => {
      const [, bracketed, plain, portText = ''] =
        /^(?:(?:\[([^\]]*)\]|([^:[\]]*)):)?([0-9]+)$/.exec(text) ?? [];
      if (portText === '') {
        throw new NotationError(
          `${quoted(text)} is not ADDRESS:PORT or PORT`,
          `${form}, or ${option} 1080; an IPv6 address is written in brackets: [::1]:1080`,
        );
      }
      const port = /^0+$/.test(portText) ? 0 : parsePort(portText);
      return { hosts: hostsOf(bracketed ?? plain), port, protocols };
    });
}

function hostsOf(host: string | undefined): readonly [string, ...string[]] {
  if (host === undefined || host === 'localhost') return LOOPBACK_HOSTS;
  if (host === '*') return ALL_HOSTS;
  if (!isAddress(host))
    throw new NotationError(
      `${quoted(host)} is not an address of this machine`,
      'write the address itself, "localhost", or "*" for all addresses',
    );
  return [canonicalAddress(host)];
}

function isLoopback(address: string): boolean {
  const { prefix } = parsePrefix(address);
  return LOOPBACK.some((loopback) => prefixContains(loopback, prefix));
}

/**
 * `user:password`, one per line. Empty lines and lines that begin with `#` are ignored. Throws
 * UsageError.
 */
function readCredentials({ value: file, place }: Given<string>): ProxyOptions['credentials'] {
  const credentials = readSecretFile(file, formatPlace(place))
    .split('\n')
    .map((line) => line.replace(/\r$/, ''))
    .flatMap((line, index) =>
      line === '' || line.startsWith('#')
        ? []
        : [readCredential(line, { kind: 'file', path: file, line: index + 1 })],
    );
  if (credentials.length === 0) {
    throw new UsageError(`${formatPlace(place)}: ${file} names no user`, {
      hint: 'write lines of user:password into it',
    });
  }
  return credentials;
}

/** Messages show no part of the line: it is a secret. */
function readCredential(
  line: string,
  place: Place,
): { readonly user: string; readonly password: string } {
  const colon = line.indexOf(':');
  const user = line.slice(0, Math.max(colon, 0));
  const password = line.slice(colon + 1);
  for (const part of [user, password]) {
    if (colon === -1 || part === '' || Buffer.byteLength(part) > MAX_CREDENTIAL_BYTES) {
      throw new UsageError(
        `${formatPlace(place)}: the line is not user:password, each of 1 to ${MAX_CREDENTIAL_BYTES} bytes`,
        { hint: 'write one user per line; comments begin with #' },
      );
    }
  }
  return { user, password };
}

/**
 * Other users must not be able to read it, as with private keys. Pipes (`<(pass show proxy)`) have
 * no such permission bits.
 */
function readSecretFile(file: string, at: string): string {
  let fd: number | undefined;
  try {
    fd = openSync(file, 'r');
    const status = fstatSync(fd);
    if (status.isFile() && (status.mode & 0o077) !== 0) {
      throw new UsageError(`${at}: other users can read ${file}`, {
        hint: closeToOthersHint(file, '--proxy-auth'),
      });
    }
    const bytes = readAtMost(fd, MAX_CREDENTIALS_FILE_BYTES);
    if (bytes !== undefined) return bytes.toString('utf8');
    throw new UsageError(`${at}: ${file} is larger than ${MAX_CREDENTIALS_FILE_BYTES} bytes`, {
      hint: 'check that it is the right file',
    });
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    throw new UsageError(`${at}: ${file} can't be read: ${fileReasonOf(cause)}`, {
      hint: fileHintOf(file),
      cause,
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
