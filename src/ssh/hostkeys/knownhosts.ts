/**
 * The known_hosts files (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): which keys are known for a host,
 * and which are revoked. Supports plain, hashed, negated and wildcard names, `[host]:port` and
 * @revoked. Lines with @cert-authority are read, but don't apply to plain host keys. A malformed
 * line is skipped, as in ssh, and counted. This file only reads; append.ts adds lines.
 */

import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Observer } from '../../observe/observer.ts';
import {
  decodeBase64,
  isMalformedKey,
  type PublicKey,
  publicKeyFromBlob,
} from '../keys/publickey.ts';
import { DEFAULT_PORT } from '../options.ts';
import { matchPatterns } from '../patterns.ts';

/** In messages, in place of a file: what KnownHostsCommand has printed. */
export const FROM_COMMAND = 'KnownHostsCommand';

export type Marker = 'key' | 'revoked' | 'authority';

export interface KnownKey extends PublicKey {
  readonly marker: Marker;
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

interface Entry extends KnownKey {
  readonly names: string;
}

export interface ParsedKnownHosts {
  readonly entries: readonly Entry[];
  readonly malformed: number;
}

class KnownHosts {
  readonly #entries: readonly Entry[];

  constructor(entries: readonly Entry[]) {
    this.#entries = entries;
  }

  /** All lines for `name` (from knownHostsName, or an alias), in the order of the files. */
  lookup(name: string): KnownKey[] {
    return this.#entries.filter((entry) => matchesNames(entry.names, name));
  }
}

/**
 * Missing files count as empty. If a file can't be read, a warning is logged. `printed`: what
 * KnownHostsCommand has printed.
 */
export async function loadKnownHosts(
  files: readonly string[],
  observer: Observer,
  printed?: string,
): Promise<KnownHosts> {
  const entries: Entry[] = [];
  const add = (text: string, file: string): void => {
    const parsed = parseKnownHosts(text, file);
    entries.push(...parsed.entries);
    if (parsed.malformed === 0) return;
    observer.log('info', `${file}: malformed lines skipped`, { lines: parsed.malformed });
    observer.count('tunnel_known_hosts_malformed_total', parsed.malformed);
  };
  for (const file of files) {
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'ENOTDIR')
        observer.log('warning', `known host keys can't be read from ${file}`, { error: code });
      continue;
    }
    add(text, file);
  }
  if (printed !== undefined) add(printed, FROM_COMMAND);
  return new KnownHosts(entries);
}

export function parseKnownHosts(text: string, file: string): ParsedKnownHosts {
  const entries: Entry[] = [];
  let malformed = 0;
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/^[ \t]+|[ \t\r]+$/g, '');
    if (line === '' || line.startsWith('#')) continue;
    const entry = parseLine(line, file, index + 1);
    if (entry === undefined) malformed++;
    else entries.push(entry);
  }
  return { entries, malformed };
}

const MARKERS: Readonly<Record<string, Marker>> = {
  '@revoked': 'revoked',
  '@cert-authority': 'authority',
};

function parseLine(text: string, file: string, line: number): Entry | undefined {
  const fields = text.split(/[ \t]+/);
  let marker: Marker = 'key';
  if (fields[0]?.startsWith('@')) {
    const known = MARKERS[fields[0]];
    if (known === undefined) return undefined;
    marker = known;
    fields.shift();
  }
  const [names, type, encoded = ''] = fields;
  const blob = decodeBase64(encoded);
  const key = blob === undefined ? undefined : publicKeyFromBlob(blob);
  if (names === undefined || key === undefined || isMalformedKey(key)) return undefined;
  if (key.type !== type && !(key.type === 'ssh-rsa' && isRsaSignature(type))) return undefined;
  if (names.startsWith('|') && parseHashedName(names) === undefined) return undefined;
  return { ...key, marker, file, line, names };
}

/** An algorithm of RSA keys, which ssh takes for their type. */
function isRsaSignature(type: string | undefined): boolean {
  return type === 'rsa-sha2-256' || type === 'rsa-sha2-512';
}

/** The name of a host in known_hosts: `host` for port 22, otherwise `[host]:port`. */
export function knownHostsName(host: string, port: number): string {
  const name = host.toLowerCase();
  return port === DEFAULT_PORT ? name : `[${name}]:${port}`;
}

function parseHashedName(names: string): { salt: Buffer; hash: Buffer } | undefined {
  const match = /^\|1\|([^|]+)\|([^|]+)$/.exec(names);
  const salt = decodeBase64(match?.[1] ?? '');
  const hash = decodeBase64(match?.[2] ?? '');
  return salt === undefined || hash?.length !== 20 ? undefined : { salt, hash };
}

function matchesNames(names: string, name: string): boolean {
  if (names.startsWith('|')) {
    const hashed = parseHashedName(names);
    return (
      hashed !== undefined &&
      timingSafeEqual(createHmac('sha1', hashed.salt).update(name).digest(), hashed.hash)
    );
  }
  return matchPatterns(names.toLowerCase().split(','), name);
}
