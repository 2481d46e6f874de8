/**
 * The messages between the program and the part of it that stays root under sudo and doas.
 *
 * A SOCK_SEQPACKET pair, one message a packet, JSON of at most MAX_MESSAGE_BYTES. The program sends
 * a request and waits for its answer. Both ends are the same version of the same program.
 *
 *   request      fields          what the privileged part does, and computes itself
 *   ───────────  ──────────────  ─────────────────────────────────────────────────────────────────
 *   recover      -               undoes what a tunnel that was killed has left, by root's journal
 *   directory    -               makes the directory for the helper's socket; answers its path
 *   helper       -               starts the helper for the caller, at the socket in that directory
 *   resolv-conf  device          has /etc/resolv.conf name that tunnel's DNS server
 *   restore      -               takes that back
 *   resolved     device, domains gives that tunnel's device its settings in systemd-resolved
 *   revert       device          takes them back
 *   detach       -               leaves the terminal, where it was started to run on (-D)
 *   ruleset      from            a piece of what `nft -j list ruleset` prints
 *
 * No request has a path, an address or a text that is written anywhere. A request must have exactly
 * its fields; anything else ends the conversation, and what was changed is undone.
 */
import { isCanonicalName } from '../../net/name.ts';

/** As the link takes them (native/link.h). */
export const MAX_MESSAGE_BYTES = 65_536;
/** More than systemd-resolved is told of (dns/naming.ts). */
export const MAX_DOMAINS = 256;
/** Characters of a ruleset in an answer: none takes more than six bytes of JSON. */
export const RULESET_PIECE = 8192;
/** Of a ruleset that is read in pieces. */
export const MAX_RULESET_CHARACTERS = 4 * 2 ** 20;
/** Sentences of a report, and their characters. */
export const MAX_SENTENCES = 32;
export const MAX_SENTENCE = 500;

/** As the helper names its devices (native/tun.c). */
const DEVICE = /^tun(0|[1-9]\d{0,6})$/;

export type PrivilegedRequest =
  | { readonly type: 'recover' | 'directory' | 'helper' | 'restore' | 'detach' }
  | { readonly type: 'resolv-conf' | 'revert'; readonly device: string }
  | { readonly type: 'resolved'; readonly device: string; readonly domains: readonly string[] }
  | { readonly type: 'ruleset'; readonly from: number };

export type PrivilegedAnswer =
  | { readonly ok: true; readonly value: unknown }
  | {
      readonly ok: false;
      readonly code: string;
      readonly message: string;
      readonly hint: string | undefined;
    };

const FIELDS: Readonly<Record<PrivilegedRequest['type'], readonly string[]>> = {
  recover: [],
  directory: [],
  helper: [],
  restore: [],
  detach: [],
  'resolv-conf': ['device'],
  revert: ['device'],
  resolved: ['device', 'domains'],
  ruleset: ['from'],
};

/** What each field must be. */
const IS_VALID: Readonly<Record<string, (value: unknown) => boolean>> = {
  device: (value) => typeof value === 'string' && DEVICE.test(value),
  domains: (value) =>
    Array.isArray(value) &&
    value.length <= MAX_DOMAINS &&
    value.every((it) => typeof it === 'string' && (it === '.' || isCanonicalName(it))),
  from: (value) =>
    Number.isInteger(value) && Number(value) >= 0 && Number(value) <= MAX_RULESET_CHARACTERS,
};

export function encode(message: PrivilegedRequest | PrivilegedAnswer): Uint8Array {
  const bytes = Buffer.from(JSON.stringify(message));
  if (bytes.length > MAX_MESSAGE_BYTES) throw new RangeError(`a message of ${bytes.length} bytes`);
  return bytes;
}

/** A request; undefined for anything else. */
export function decodeRequest(bytes: Uint8Array): PrivilegedRequest | undefined {
  const message = parse(bytes);
  const type = message?.['type'];
  if (message === undefined || typeof type !== 'string' || !Object.hasOwn(FIELDS, type))
    return undefined;
  const fields = FIELDS[type as PrivilegedRequest['type']];
  if (Object.keys(message).length !== fields.length + 1) return undefined;
  const valid = fields.every(
    (name) => Object.hasOwn(message, name) && IS_VALID[name]?.(message[name]) === true,
  );
  return valid ? (message as PrivilegedRequest) : undefined;
}

/** An answer; undefined for anything else. */
export function decodeAnswer(bytes: Uint8Array): PrivilegedAnswer | undefined {
  const message = parse(bytes);
  if (message?.['ok'] === true) return { ok: true, value: message['value'] };
  if (message?.['ok'] !== false) return undefined;
  const { code, message: text, hint } = message;
  if (typeof code !== 'string' || typeof text !== 'string') return undefined;
  return { ok: false, code, message: text, hint: typeof hint === 'string' ? hint : undefined };
}

function parse(bytes: Uint8Array): Record<string, unknown> | undefined {
  if (bytes.length > MAX_MESSAGE_BYTES) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined; // not JSON
  }
}
