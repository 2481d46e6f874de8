/**
 * Decides whether a key really belongs to the jump host. There are two sources of truth, and only
 * one is used: the pins of --host-key if there are any, otherwise the known_hosts files and what
 * KnownHostsCommand prints. A key that these revoke is refused even if pinned. Nothing turns this
 * check off.
 *
 *   dial -> preferredTypes(host, port)   the key types to ask for first, so that a server with
 *                                        several keys presents one that we can compare (ssh orders
 *                                        HostKeyAlgorithms in the same way)
 *        -> verify(host, port, blob)     during key exchange, before any authentication byte is
 *                                        sent; may ask the user
 *        -> proven()                     key exchange is done: the server has the private key. A
 *                                        new key is saved only now, so no server can make us save
 *                                        a key that isn't its own
 *
 * | what is known about the name                  | answer                                        |
 * |-----------------------------------------------|-----------------------------------------------|
 * | an RSA key is shorter than RequiredRSASize    | host-key-weak, whatever else is known, even   |
 * |                                               | with pins                                     |
 * | RevokedHostKeys or a @revoked line has it     | host-key-revoked, in the same way             |
 * | a file of RevokedHostKeys can't be read, or   | host-key-unchecked, in the same way           |
 * | KnownHostsCommand fails                       |                                               |
 * | something is revoked, and the host has a      | host-key-certified: only ssh sees whether the |
 * | certificate as well                           | certificate, or its authority, is revoked     |
 * | another address of the same jump host has     | host-key-differs, with both fingerprints      |
 * | another key                                   |                                               |
 * | a line has this key                           | accepted                                      |
 * | a line for the name without the port has this | accepted, as in ssh                           |
 * | key, and the port isn't 22                    |                                               |
 * | other keys of the same type                   | host-key-changed, with both fingerprints and  |
 * |                                               | the line                                      |
 * | only a certificate authority                  | host-key-unknown: certificates need the       |
 * |                                               | system's ssh                                  |
 * | only keys of other types                      | host-key-unknown                              |
 * | nothing                                       | `ask` asks, `accept-new` accepts, `yes`       |
 * |                                               | host-key-unknown                              |
 *
 * As in ssh, a host with a known key is not new, and nobody is asked: an attacker in the middle
 * could choose the type of the key. The files are read again, and the command is run again, for
 * each connection, so a reconnect sees changes. An accepted key stays accepted for the life of the
 * verifier, even if it could not be saved, unless it is revoked in the meantime. The name that is
 * looked up is HostName with the port, or HostKeyAlias without a port. Addresses aren't looked up:
 * CheckHostIP, off by default in ssh as well, needs the system's ssh (ssh/config/unobeyed.ts).
 */
import { timingSafeEqual } from 'node:crypto';
import { TunnelError } from '../../errors/errors.ts';
import { formatDestination } from '../../net/destination.ts';
import { type Observer, silentObserver } from '../../observe/observer.ts';
import {
  describeKey,
  fingerprint,
  fingerprintCommand,
  type PublicKey,
  publicKeyFromBlob,
  rsaBits,
} from '../keys/publickey.ts';
import { DEFAULT_PORT } from '../options.ts';
import type { Prompter } from '../prompter.ts';
import type { HostKeySettings } from '../settings.ts';
import { appendKnownHost } from './append.ts';
import {
  certifiedHost,
  changedKey,
  changedSinceAccepted,
  notPinned,
  place,
  revokedKey,
  shortKey,
  unknownKey,
  unreadableKey,
} from './errors.ts';
import { type KnownKey, knownHostsName, loadKnownHosts } from './knownhosts.ts';
import { runKnownHostsCommand } from './knownhostscommand.ts';
import type { ReplicaKeys } from './replicas.ts';
import { checkRevokedFiles } from './revokedfiles.ts';

export interface HostKeyVerifier {
  /**
   * Types of the keys that would be accepted for this host, in no particular order. Empty: any type
   * may come. Rejects with TunnelError `host-key-unchecked`, or the signal's reason.
   */
  preferredTypes(host: string, port: number, signal?: AbortSignal): Promise<readonly string[]>;
  /**
   * Rejects with TunnelError host-key-unknown, -changed, -revoked, -weak, -unchecked or -differs,
   * with `auth-cancelled` if the user doesn't answer, or with the reason of `signal`.
   */
  verify(
    host: string,
    port: number,
    blob: Buffer,
    context: HostKeyContext,
  ): Promise<AcceptedHostKey>;
}

export interface HostKeyContext {
  /** Aborted when the attempt is over, so no question stays on the screen. */
  readonly signal: AbortSignal;
  /**
   * Called before and after each question, and each run of KnownHostsCommand: the time that they
   * take doesn't count.
   */
  readonly onPrompt: (waiting: boolean) => void;
  /** Whether the host also has a certificate, which isn't asked for here. Default: it has none. */
  readonly certified?: () => boolean;
}

export interface AcceptedHostKey {
  /** `ssh-ed25519 SHA256:...` */
  readonly described: string;
  /** Completes "it is trusted because ...". */
  readonly why: string;
  /** Call this when key exchange is done. Never rejects: if the key can't be saved, it warns. */
  proven(): Promise<void>;
}

export interface HostKeyOptions {
  /** undefined: don't ask anybody (BatchMode). */
  readonly prompter: Prompter | undefined;
  readonly observer: Observer;
  /**
   * Shared by the verifiers of all addresses of one jump host (several -r), which must all present
   * the same key.
   */
  readonly replicas?: ReplicaKeys;
}

export function createHostKeyVerifier(
  settings: HostKeySettings,
  options: HostKeyOptions,
): HostKeyVerifier {
  return new Verifier(settings, options);
}

/**
 * Whether no key is known for the host, but a certificate authority is. Only the system's ssh can
 * verify such a host.
 */
export async function isKnownByAuthorityOnly(
  settings: HostKeySettings,
  host: string,
  port: number,
): Promise<boolean> {
  const { pins, userFiles, globalFiles } = settings;
  if (pins.length > 0) return false;
  const { name } = namesOf(settings, host, port);
  const lines = (await loadKnownHosts([...userFiles, ...globalFiles], silentObserver)).lookup(name);
  return keysAmong(lines).length === 0 && lines.some(({ marker }) => marker === 'authority');
}

interface Names {
  /** The name that is looked up, shown and saved. */
  readonly name: string;
  /** The name without the port, which is valid for any port. */
  readonly plain: string | undefined;
}

/** The lines of known_hosts for a name. */
interface KnownLines {
  readonly lines: readonly KnownKey[];
  readonly plain: readonly KnownKey[];
}

interface Look {
  /** What the host shows. Default: it hasn't done so. */
  readonly key?: PublicKey;
  readonly signal: AbortSignal | undefined;
  /** Called before and after KnownHostsCommand runs, which has its own limit. */
  readonly onWait?: (waiting: boolean) => void;
}

class Verifier implements HostKeyVerifier {
  readonly #settings: HostKeySettings;
  readonly #options: HostKeyOptions;
  /** Accepted in this run, by name. */
  readonly #accepted = new Map<string, PublicKey[]>();

  constructor(settings: HostKeySettings, options: HostKeyOptions) {
    this.#settings = settings;
    this.#options = options;
  }

  async preferredTypes(
    host: string,
    port: number,
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    const first = this.#options.replicas?.first;
    if (first !== undefined) return [first.type];
    const { pins, fixedOrder } = this.#settings;
    if (fixedOrder) return [];
    if (pins.length > 0)
      return pins.flatMap((pin) => (pin.key === undefined ? [] : [pin.key.type]));
    const names = namesOf(this.#settings, host, port);
    // `verify` reports problems with the files, so they are reported only once.
    const { lines, plain } = await this.#counted(this.#lookUp(names, silentObserver, { signal }));
    const own: PublicKey[] = [...keysAmong(lines), ...(this.#accepted.get(names.name) ?? [])];
    return (own.length > 0 ? own : keysAmong(plain)).map((key) => key.type);
  }

  verify(
    host: string,
    port: number,
    blob: Buffer,
    context: HostKeyContext,
  ): Promise<AcceptedHostKey> {
    return this.#counted(this.#verify(host, port, blob, context));
  }

  async #counted<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (error instanceof TunnelError && error.code === 'host-key-unchecked')
        this.#options.observer.count('tunnel_host_keys_unchecked_total');
      throw error;
    }
  }

  async #verify(
    host: string,
    port: number,
    blob: Buffer,
    context: HostKeyContext,
  ): Promise<AcceptedHostKey> {
    const names = namesOf(this.#settings, host, port);
    const { name } = names;
    const offered = publicKeyFromBlob(blob);
    if (offered === undefined) throw unreadableKey(name);
    const { leastRsaBits, revokedFiles } = this.#settings;
    const bits = rsaBits(offered);
    if (bits === undefined && offered.type === 'ssh-rsa') throw unreadableKey(name);
    if (bits !== undefined && bits < leastRsaBits)
      throw shortKey(name, offered, bits, leastRsaBits);
    await checkRevokedFiles(revokedFiles, name, offered);
    const { signal, onPrompt } = context;
    const look = { key: offered, signal, onWait: onPrompt };
    const known = await this.#lookUp(names, this.#options.observer, look);

    const revoked = [...known.lines, ...known.plain].find(
      (line) => line.marker === 'revoked' && sameKey(line, blob),
    );
    if (revoked !== undefined) throw revokedKey(name, offered, revoked);
    const something =
      revokedFiles[0] ?? markedAsRevoked(known.lines)[0] ?? markedAsRevoked(known.plain)[0];
    if (something !== undefined && context.certified?.() === true)
      throw certifiedHost(name, something);
    const { replicas } = this.#options;
    const at = formatDestination({ host, port });
    const shown = { at, type: offered.type, fingerprint: fingerprint(blob) };
    replicas?.check(shown);

    const trust =
      this.#settings.pins.length > 0
        ? this.#checkPins(name, offered)
        : this.#known(name, offered, known);
    const isNew = trust === undefined;
    if (isNew) await this.#accept(name, offered, known, context);
    return {
      described: describeKey(offered),
      why: trust ?? this.#whyNew(),
      proven: async () => {
        replicas?.prove(shown);
        if (isNew) await this.#remember(name, offered);
      },
    };
  }

  async #lookUp({ name, plain }: Names, observer: Observer, look: Look): Promise<KnownLines> {
    const { userFiles, globalFiles, command } = this.#settings;
    const { key, signal, onWait } = look;
    let printed: string | undefined;
    if (command !== undefined) {
      onWait?.(true);
      try {
        printed = await runKnownHostsCommand(command, { name, key }, { observer, signal });
      } finally {
        onWait?.(false);
      }
    }
    const known = await loadKnownHosts([...userFiles, ...globalFiles], observer, printed);
    return { lines: known.lookup(name), plain: plain === undefined ? [] : known.lookup(plain) };
  }

  /** Gives the reason for trust: a pinned key is not new. */
  #checkPins(name: string, offered: PublicKey): string {
    const { pins } = this.#settings;
    const shown = fingerprint(offered.blob);
    if (
      pins.some((pin) =>
        pin.key === undefined ? pin.fingerprint === shown : sameKey(pin.key, offered.blob),
      )
    )
      return '--host-key pins it';
    throw notPinned(name, offered, pins);
  }

  /**
   * Why the key is known; undefined: it is new. Throws if another key of the same type is known for
   * the host.
   */
  #known(name: string, offered: PublicKey, { lines, plain }: KnownLines): string | undefined {
    const keys = keysAmong(lines);
    const same = keys.find((key) => sameKey(key, offered.blob));
    if (same !== undefined) return `line ${same.line} of ${same.file} has it`;
    const known = keys.find((key) => key.type === offered.type);
    if (known !== undefined) throw changedKey(name, offered, known);
    const accepted = this.#accepted.get(name) ?? [];
    if (accepted.some((key) => sameKey(key, offered.blob)))
      return 'it was accepted earlier in this run';
    const earlier = accepted.find((key) => key.type === offered.type);
    if (earlier !== undefined) throw changedSinceAccepted(name, offered, earlier);
    // A different key for the name without the port is fine: this port may have another server.
    if (keys.length > 0) return undefined;
    const ofHost = keysAmong(plain).find((key) => sameKey(key, offered.blob));
    return ofHost && `line ${ofHost.line} of ${ofHost.file} has it for the host without its port`;
  }

  #whyNew(): string {
    return this.#settings.strict === 'accept-new'
      ? 'the host was new, and StrictHostKeyChecking is accept-new'
      : 'you have just accepted it';
  }

  /** Returns if an unknown key may be trusted, and throws otherwise. */
  async #accept(
    name: string,
    offered: PublicKey,
    { lines }: KnownLines,
    { signal, onPrompt }: HostKeyContext,
  ): Promise<void> {
    const { strict, userFiles } = this.#settings;
    const refused = (why?: string): TunnelError => {
      const [file] = userFiles;
      return unknownKey({ name, offered, lines, file, ...(why === undefined ? {} : { why }) });
    };
    const known = lines.some(({ marker }) => marker === 'key' || marker === 'authority');
    if (strict === 'yes' || known) throw refused();
    if (strict === 'accept-new') return;
    const { prompter } = this.#options;
    if (prompter === undefined) throw refused();
    let trusted: boolean;
    onPrompt(true);
    try {
      trusted = await prompter.confirm('Trust this key from now on?', {
        signal,
        preamble: [
          `The host key of ${name} is not known:`,
          `  ${describeKey(offered)}`,
          `Compare it with what "${fingerprintCommand(offered.type)}" prints on the jump host.`,
        ],
        alternative: { text: fingerprint(offered.blob), name: 'the fingerprint' },
      });
    } catch (error) {
      if (error instanceof TunnelError && error.code === 'no-terminal')
        throw refused('there is nobody to ask whether to trust it');
      throw error;
    } finally {
      onPrompt(false);
    }
    if (!trusted) throw refused('it was not accepted');
  }

  async #remember(name: string, key: PublicKey): Promise<void> {
    this.#accepted.set(name, [...(this.#accepted.get(name) ?? []), key]);
    const { observer } = this.#options;
    const [file] = this.#settings.userFiles;
    const described = `the host key of ${name}, ${describeKey(key)},`;
    try {
      if (file === undefined)
        throw new TunnelError('known-hosts-unwritable', 'no file for host keys is set');
      await appendKnownHost(file, name, key, this.#settings.hashNames);
      observer.log('notice', `${described} is remembered in ${file}`);
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      observer.count('tunnel_known_hosts_unwritable_total');
      observer.log('warning', `${described} is trusted for this run only: ${error.message}`);
    }
  }
}

function namesOf({ alias }: HostKeySettings, host: string, port: number): Names {
  if (alias !== undefined) return { name: alias.toLowerCase(), plain: undefined };
  const plain = port === DEFAULT_PORT ? undefined : knownHostsName(host, DEFAULT_PORT);
  return { name: knownHostsName(host, port), plain };
}

/** Where something is revoked for the host. */
function markedAsRevoked(lines: readonly KnownKey[]): string[] {
  return lines.filter(({ marker }) => marker === 'revoked').map(place);
}

function keysAmong(lines: readonly KnownKey[]): KnownKey[] {
  return lines.filter((line) => line.marker === 'key');
}

function sameKey(key: PublicKey, blob: Buffer): boolean {
  return key.blob.length === blob.length && timingSafeEqual(key.blob, blob);
}
