/**
 * The options of the proxies: where they listen, who may use them, and what they carry.
 *
 * Whoever can connect to a proxy can use the jump host through it. So the addresses are loopback
 * unless another one is written, and then either users are named (--proxy-auth) or the user says
 * that it is meant (--allow-remote-clients).
 */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { UsageError } from '../errors/errors.ts';
import { systemCodeOf } from '../errors/reason.ts';
import { canonicalAddress, isAddress } from '../net/address.ts';
import { endsInNumber, parseNamePattern } from '../net/name.ts';
import { NotationError, quoted } from '../net/notation.ts';
import { type Place, readAt } from '../net/place.ts';
import { parsePort, parsePorts } from '../net/ports.ts';
import { parsePrefix, prefixContains } from '../net/prefix.ts';
import type { Entry } from './argsfile.ts';
import type { NameTarget, ProxyListenAddress, ProxyOptions } from './configuration.ts';
import { isUrl, TARGET_FORM } from './target.ts';

/** As ssh -D's users know it, and where other programs expect a SOCKS server. */
export const DEFAULT_PROXY_PORT = 1080;
/** RFC 1929 §2: lengths are one octet. */
const MAX_CREDENTIAL_BYTES = 255;
const MAX_CREDENTIALS_FILE_BYTES = 1024 * 1024;

const LOOPBACK_HOSTS = ['127.0.0.1', '::1'] as const;
const ALL_HOSTS = ['0.0.0.0', '::'] as const;
const LOOPBACK = [parsePrefix('127.0.0.0/8').prefix, parsePrefix('::1').prefix];

/** As commander hands them over. */
export interface ProxyOptionTexts {
  readonly listen?: readonly string[];
  readonly socks?: readonly string[];
  readonly http?: readonly string[];
  readonly proxyAuth?: string;
  readonly allowRemoteClients?: boolean;
  readonly onlyTargets?: boolean;
}

/** undefined: `connect` without proxies. Throws UsageError. */
export function readProxyOptions(
  {
    listen = [],
    socks = [],
    http = [],
    proxyAuth,
    allowRemoteClients = false,
    onlyTargets = false,
  }: ProxyOptionTexts,
  command: 'connect' | 'proxy',
): ProxyOptions | undefined {
  const listens = [
    ...listen.map((text) => readListen(text, '--listen', 'both')),
    ...socks.map((text) => readListen(text, '--socks', 'socks')),
    ...http.map((text) => readListen(text, '--http', 'http')),
  ];
  if (listens.length === 0) {
    if (command === 'connect') {
      requireNone({
        '--proxy-auth': proxyAuth,
        '--allow-remote-clients': allowRemoteClients,
        '--only-targets': onlyTargets,
      });
      return undefined;
    }
    listens.push({ hosts: [LOOPBACK_HOSTS[0]], port: DEFAULT_PROXY_PORT, protocols: 'both' });
  }
  const credentials = proxyAuth === undefined ? [] : readCredentials(proxyAuth);
  const remote = listens.flatMap(({ hosts }) => hosts).find((host) => !isLoopback(host));
  if (remote !== undefined && credentials.length === 0 && !allowRemoteClients) {
    throw new UsageError(
      `${remote} is no loopback address: whoever can connect to it could use the jump host`,
      {
        hint: 'name users with --proxy-auth FILE, or say --allow-remote-clients if everybody there may',
      },
    );
  }
  return { listens, onlyTargets, credentials, remoteClients: remote !== undefined };
}

function requireNone(options: Readonly<Record<string, string | boolean | undefined>>): void {
  for (const [option, value] of Object.entries(options)) {
    if (value !== undefined && value !== false) {
      throw new UsageError(`${option} belongs to a proxy, and none is asked for`, {
        hint: 'add one with --listen, --socks or --http, or leave the option out',
      });
    }
  }
}

/** `1080`, `127.0.0.1:1080`, `[::1]:1080`, `localhost:1080`, `*:1080`. */
function readListen(
  text: string,
  option: Place,
  protocols: ProxyListenAddress['protocols'],
): ProxyListenAddress {
  const form = `write ADDRESS:PORT or PORT, as in: ${option} 127.0.0.1:1080`;
  return readAt(option, text, form, () => {
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
 * `user:password`, one a line; empty lines and those that begin with `#` don't count. Throws
 * UsageError.
 */
function readCredentials(file: string): ProxyOptions['credentials'] {
  const credentials = readSecretFile(file)
    .split('\n')
    .map((line) => line.replace(/\r$/, ''))
    .flatMap((line, index) =>
      line === '' || line.startsWith('#') ? [] : [readCredential(line, `${file}:${index + 1}`)],
    );
  if (credentials.length === 0) {
    throw new UsageError(`--proxy-auth: ${file} names no user`, {
      hint: 'write lines of user:password into it',
    });
  }
  return credentials;
}

/** No part of the line is shown: it is a secret. */
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
        `${place}: the line is not user:password, each of 1 to ${MAX_CREDENTIAL_BYTES} bytes`,
        { hint: 'write one user a line, and a # before what is none' },
      );
    }
  }
  return { user, password };
}

/**
 * Others must not be able to read it, as with private keys. Pipes (`<(pass show proxy)`) have no
 * such bits.
 */
function readSecretFile(file: string): string {
  let fd: number | undefined;
  try {
    fd = openSync(file, 'r');
    const status = fstatSync(fd);
    if (status.isFile() && (status.mode & 0o077) !== 0) {
      throw new UsageError(`--proxy-auth: other users can read ${file}`, {
        hint: `run: chmod 600 ${file}`,
      });
    }
    if (status.size > MAX_CREDENTIALS_FILE_BYTES)
      throw new UsageError(
        `--proxy-auth: ${file} is larger than ${MAX_CREDENTIALS_FILE_BYTES} bytes`,
        {
          hint: 'check that it is the right file',
        },
      );
    return readFileSync(fd, 'utf8');
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    const reason = systemCodeOf(cause);
    throw new UsageError(`--proxy-auth: ${file} can't be read: ${reason}`, {
      hint: 'check the path and its permissions',
      cause,
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

type PlacedEntry = Entry & { readonly place: Place };

/**
 * Takes the names (`api.example.com[:ports]`, `*.example.com[:ports]`) out of the targets. Throws
 * UsageError.
 */
export function separateNames(entries: readonly PlacedEntry[]): {
  readonly addresses: readonly PlacedEntry[];
  readonly names: readonly NameTarget[];
} {
  return {
    addresses: entries.filter(({ text }) => !isNameTarget(text)),
    names: entries
      .filter(({ text }) => isNameTarget(text))
      .map(({ text, place }) => readNameTarget(text, place)),
  };
}

/**
 * A letter, no address, and no number at the end; whether the name is a good one is
 * parseNamePattern's business.
 */
function isNameTarget(text: string): boolean {
  if (isUrl(text)) return false;
  const [, host = ''] = /^([^:/[\]]+)(?::[^:]*)?$/.exec(text) ?? [];
  return /[^0-9.]/.test(host) && !endsInNumber(host);
}

function readNameTarget(text: string, place: Place): NameTarget {
  return readAt(place, text, TARGET_FORM, () => {
    const [host = '', ports] = text.split(':');
    return {
      pattern: parseNamePattern(host),
      ports: ports === undefined ? [] : parsePorts(ports),
      text,
    };
  });
}
