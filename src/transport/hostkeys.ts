/**
 * Decides whether the key that a jump host shows is the jump host's. There are two sources of truth and never both:
 * the pins of --host-key if any are given, else the known_hosts files. Nothing turns the check off, and nothing is
 * learnt here: an unknown key ends the attempt with what a person needs to verify and pin it.
 *
 *   dial -> preferredTypes(host, port)   the key types to ask for first, so that a server with several keys shows one
 *                                        that we can compare (as ssh orders HostKeyAlgorithms)
 *        -> verify(host, port, blob)     during key exchange, before any authentication byte is sent
 *
 * | what is known about the name                              | answer                                              |
 * |-----------------------------------------------------------|-----------------------------------------------------|
 * | a @revoked line has this key                              | host-key-revoked, whatever else is known            |
 * | a line has this key                                       | accepted                                            |
 * | this key stands under the plain name, the port isn't 22   | accepted, as ssh does                               |
 * | other keys of the same type                               | host-key-changed, with both fingerprints and the line |
 * | only keys of other types, certificate authorities, nothing | host-key-unknown                                   |
 *
 * Names are matched as the user wrote them; addresses aren't looked up (CheckHostIP is off by default in ssh as well).
 */
import { timingSafeEqual } from 'node:crypto';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { TunnelError, UsageError } from '../errors.ts';
import { type Observer, silentObserver } from '../observe/observer.ts';
import {
  DEFAULT_PORT,
  type KnownHosts,
  type KnownKey,
  knownHostsName,
  loadKnownHosts,
} from './knownhosts.ts';
import { describeKey, fingerprint, type PublicKey, parsePublicKey, publicKeyFromBlob } from './publickey.ts';

export interface HostKeyVerifier {
  /** Types of the keys that would be accepted for this host, in no particular order; empty when any may come. */
  preferredTypes(host: string, port: number): readonly string[];
  /** Throws TunnelError with code host-key-unknown, host-key-changed or host-key-revoked. Doesn't block. */
  verify(host: string, port: number, blob: Buffer): void;
}

/** A pin: a whole key, or only its fingerprint. */
export type HostKeyPin = { readonly fingerprint: string; readonly key: PublicKey | undefined };

export interface HostKeyOptions {
  /** --host-key, in order. Non-empty: known_hosts is not consulted. */
  readonly pins: readonly string[];
  /** Default: the user's and the system's files. */
  readonly knownHostsFiles?: readonly string[];
  readonly observer?: Observer;
}

export function defaultKnownHostsFiles(home: string = homedir()): string[] {
  return [
    join(home, '.ssh', 'known_hosts'),
    join(home, '.ssh', 'known_hosts2'),
    '/etc/ssh/ssh_known_hosts',
    '/etc/ssh/ssh_known_hosts2',
  ];
}

/** Reads what there is to know. Throws UsageError for a pin that isn't one. */
export async function loadHostKeyVerifier(options: HostKeyOptions): Promise<HostKeyVerifier> {
  if (options.pins.length > 0) return new PinnedKeys(options.pins.map(parseHostKeyPin));
  const files = options.knownHostsFiles ?? defaultKnownHostsFiles();
  return new KnownHostKeys(await loadKnownHosts(files, options.observer ?? silentObserver), files);
}

/** `SHA256:...` (padding allowed) or `ssh-ed25519 AAAA... [comment]`. Throws UsageError. */
export function parseHostKeyPin(text: string): HostKeyPin {
  const pin = text.trim();
  if (/^SHA256:[A-Za-z0-9+/]{43}=?$/.test(pin)) return { fingerprint: pin.replace(/=$/, ''), key: undefined };
  const key = parsePublicKey(pin);
  if (key === undefined) {
    throw new UsageError(`--host-key: "${text}" is neither a SHA256 fingerprint nor a public key`, {
      hint: 'give SHA256: and 43 characters as "ssh-keygen -lf KEY.pub" prints them, or the line of the .pub file in quotes',
    });
  }
  return { fingerprint: fingerprint(key.blob), key };
}

class PinnedKeys implements HostKeyVerifier {
  readonly #pins: readonly HostKeyPin[];

  constructor(pins: readonly HostKeyPin[]) {
    this.#pins = pins;
  }

  preferredTypes(): readonly string[] {
    return this.#pins.flatMap((pin) => (pin.key === undefined ? [] : [pin.key.type]));
  }

  verify(host: string, port: number, blob: Buffer): void {
    const offered = offeredKey(host, port, blob);
    const shown = fingerprint(blob);
    if (
      this.#pins.some((pin) => (pin.key === undefined ? pin.fingerprint === shown : sameKey(pin.key, blob)))
    )
      return;
    const pinned = this.#pins.map((pin) => pin.fingerprint).join(', ');
    throw new TunnelError(
      'host-key-changed',
      `${knownHostsName(host, port)} shows the host key ${describeKey(offered)}, but --host-key pins ${pinned}`,
      {
        hint: 'do not connect unless you can explain it: either the pin is out of date or this is another machine',
      },
    );
  }
}

class KnownHostKeys implements HostKeyVerifier {
  readonly #known: KnownHosts;
  readonly #files: readonly string[];

  constructor(known: KnownHosts, files: readonly string[]) {
    this.#known = known;
    this.#files = files;
  }

  preferredTypes(host: string, port: number): readonly string[] {
    const own = keysAmong(this.#known.lookup(host, port));
    return (own.length > 0 ? own : keysAmong(this.#plainName(host, port))).map((key) => key.type);
  }

  verify(host: string, port: number, blob: Buffer): void {
    const offered = offeredKey(host, port, blob);
    const name = knownHostsName(host, port);
    const lines = this.#known.lookup(host, port);
    const plain = this.#plainName(host, port);
    const revoked = [...lines, ...plain].find((line) => line.marker === 'revoked' && sameKey(line, blob));
    if (revoked !== undefined) {
      throw new TunnelError(
        'host-key-revoked',
        `${name} shows the host key ${describeKey(offered)}, which ${place(revoked)} marks as revoked`,
        { hint: 'do not connect: ask whoever runs the jump host for its new key' },
      );
    }
    const keys = keysAmong(lines);
    if (keys.some((key) => sameKey(key, blob))) return;
    const rival = keys.find((key) => key.type === offered.type);
    if (rival !== undefined) throw changed(name, offered, rival);
    // A different key under the plain name is no change: another server may listen at this port.
    if (keys.length === 0 && keysAmong(plain).some((key) => sameKey(key, blob))) return;
    throw unknown(host, port, offered, lines, this.#files[0]);
  }

  #plainName(host: string, port: number): KnownKey[] {
    return port === DEFAULT_PORT ? [] : this.#known.lookup(host, DEFAULT_PORT);
  }
}

function keysAmong(lines: readonly KnownKey[]): KnownKey[] {
  return lines.filter((line) => line.marker === 'key');
}

function offeredKey(host: string, port: number, blob: Buffer): PublicKey {
  const key = publicKeyFromBlob(blob);
  if (key !== undefined) return key;
  throw new TunnelError(
    'host-key-unknown',
    `${knownHostsName(host, port)} shows a host key that can't be read`,
    {
      hint: 'check that the address is that of the jump host',
    },
  );
}

function sameKey(key: PublicKey, blob: Buffer): boolean {
  return key.blob.length === blob.length && timingSafeEqual(key.blob, blob);
}

function place(key: KnownKey): string {
  return `${key.file}:${key.line}`;
}

function changed(name: string, offered: PublicKey, known: KnownKey): TunnelError {
  return new TunnelError(
    'host-key-changed',
    `the host key of ${name} has changed: it shows ${describeKey(offered)}, ` +
      `but ${place(known)} has ${describeKey(known)}`,
    {
      hint:
        'somebody may be listening in; if the jump host was set up anew, verify the new fingerprint there, ' +
        `then remove the old key with: ssh-keygen -f ${known.file} -R '${name}'`,
    },
  );
}

function unknown(
  host: string,
  port: number,
  offered: PublicKey,
  lines: readonly KnownKey[],
  file: string | undefined,
): TunnelError {
  const others = lines.filter((line) => line.marker === 'key');
  const authority = lines.find((line) => line.marker === 'authority');
  let also = '';
  if (others.length > 0) also = ` (known are only other types: ${others.map(place).join(', ')})`;
  else if (authority !== undefined)
    also = ` (${place(authority)} trusts a certificate authority; certificates can't be checked here)`;
  // This very key and not one that is fetched again: it is the one that will have been compared.
  const line = `${knownHostsName(host, port)} ${offered.type} ${offered.blob.toString('base64')}`;
  const target = file === undefined ? '~/.ssh/known_hosts' : shellWord(file);
  return new TunnelError(
    'host-key-unknown',
    `the host key of ${knownHostsName(host, port)} is not known: ${describeKey(offered)}${also}`,
    {
      hint:
        'compare it with "ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub" run on the jump host; if it is the same, ' +
        `pass --host-key ${fingerprint(offered.blob)}, or run: echo ${shellQuoted(line)} >> ${target}`,
    },
  );
}

function shellWord(text: string): string {
  return /^[\w@%+:,./-]+$/.test(text) ? text : shellQuoted(text);
}

/** Whatever is in it (a key's type is the server's word), the shell takes it as one word (sh(1), "Single Quotes"). */
function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
