/**
 * What the server offers in its first KEXINIT (RFC 4253 §7.1), and what it lacks. ssh2 ends at the
 * first list that has nothing in common with ours, and says nothing of the others. An old server
 * lacks several: so that a person doesn't meet them one after the other, all are read here, from
 * the bytes of the stream. That first packet is in clear (§6).
 */
import type { Algorithms } from 'ssh2';
import { TunnelError } from '../../../errors/errors.ts';
import type { Role } from '../../hops.ts';
import { algorithmNames } from '../../servertext.ts';
import { KEYWORDS, type Kind, KNOWN_ALGORITHMS } from './algorithms.ts';

/** An identification after other lines, and a KEXINIT, are never longer. */
const MAX_BYTES = 64 * 1024;
const IDENTIFICATION = /^SSH-[^\n]*\n/m;
/** Of a packet: length, length of the padding, then the payload. */
const PACKET_HEAD = 5;
const KEXINIT = 20;
/** Of a KEXINIT: its number, and the cookie. */
const KEXINIT_HEAD = 17;
const LENGTH_BYTES = 4;

/** The first eight lists of KEXINIT; where there are two, the first is from us to the server. */
export interface ServerLists {
  readonly kex: readonly string[];
  readonly hostKeys: readonly string[];
  readonly ciphers: Directions;
  readonly macs: Directions;
  readonly compression: Directions;
}
type Directions = readonly [up: readonly string[], down: readonly string[]];

export class ServerOffer {
  #data: Buffer = Buffer.alloc(0);
  #over = false;
  #lists: ServerLists | undefined;

  /** For 'data' events; others also listen to the stream. */
  readonly listener = (chunk: Buffer): void => {
    if (this.#over) return;
    this.#data = Buffer.concat([this.#data, chunk]);
    const packet = this.#packet();
    if (packet !== undefined) this.#lists = parseKexInit(packet);
    this.#over = packet !== undefined || this.#data.length > MAX_BYTES;
    if (this.#over) this.#data = Buffer.alloc(0);
  };

  /** undefined: no whole KEXINIT has come. */
  get lists(): ServerLists | undefined {
    return this.#lists;
  }

  /** The first packet after the identification, once it is whole. */
  #packet(): Buffer | undefined {
    const line = IDENTIFICATION.exec(this.#data.toString('latin1'));
    if (line === null) return undefined;
    const packet = this.#data.subarray(line.index + line[0].length);
    if (packet.length < PACKET_HEAD) return undefined;
    const end = LENGTH_BYTES + packet.readUInt32BE(0);
    return packet.length < end ? undefined : packet.subarray(0, end);
  }
}

/**
 * The host certificates that ssh asks for by default are those with other signatures than SHA-1.
 */
const CERTIFICATE = /^(?!ssh-(rsa|dss)-).*-cert-v\d+@openssh\.com$/;

/**
 * Whether the server has a host certificate that ssh would have been shown. `wanted`:
 * HostKeyAlgorithms.
 */
export function offersCertificate(
  theirs: ServerLists | undefined,
  wanted: readonly string[] | undefined,
): boolean {
  const certificates = theirs?.hostKeys.filter((name) => CERTIFICATE.test(name)) ?? [];
  return certificates.some((name) => wanted?.includes(name) ?? true);
}

/** undefined: it is none, or its lists don't fit into it. */
function parseKexInit(packet: Buffer): ServerLists | undefined {
  if (packet[PACKET_HEAD] !== KEXINIT) return undefined;
  let at = PACKET_HEAD + KEXINIT_HEAD;
  const lists: string[][] = [];
  while (lists.length < 8) {
    if (at + LENGTH_BYTES > packet.length) return undefined;
    const end = at + LENGTH_BYTES + packet.readUInt32BE(at);
    if (end > packet.length) return undefined;
    lists.push(packet.toString('latin1', at + LENGTH_BYTES, end).split(','));
    at = end;
  }
  const list = (index: number): string[] => lists[index] ?? [];
  return {
    kex: list(0),
    hostKeys: list(1),
    ciphers: [list(2), list(3)],
    macs: [list(4), list(5)],
    compression: [list(6), list(7)],
  };
}

interface Lack {
  readonly name: string;
  /** What the server has instead, as far as the client could use it at all, comes from `kind`. */
  readonly kind: Kind | undefined;
  readonly offered: readonly string[];
}

/** TunnelError `jumphost-no-common-algorithm`, or undefined if nothing is lacking. */
export function noCommonAlgorithm(
  at: string,
  role: Role,
  ours: Algorithms,
  theirs: ServerLists,
  cause: unknown,
): TunnelError | undefined {
  const lacks = lackingLists(ours, theirs);
  const [first, ...others] = lacks;
  if (first === undefined) return undefined;
  const offer = ({ offered }: Lack): string => algorithmNames(offered.join(',') || 'nothing');
  const rest = others.map((lack) => `, and no ${lack.name}: it offers ${offer(lack)}`).join('');
  return new TunnelError(
    'jumphost-no-common-algorithm',
    `${at} and this program have no ${first.name} in common; it offers ${offer(first)}${rest}`,
    { hint: hintFor(lacks, role), cause },
  );
}

function lackingLists(ours: Algorithms, theirs: ServerLists): Lack[] {
  const own = (list: unknown): readonly string[] => (Array.isArray(list) ? list : []);
  const shared = (list: unknown, offered: readonly string[]): string | undefined =>
    own(list).find((name) => offered.includes(name));
  const direction = (up: boolean): Lack[] => {
    const [ciphers, macs, compression] = [theirs.ciphers, theirs.macs, theirs.compression].map(
      ([first, second]) => (up ? first : second),
    ) as [readonly string[], readonly string[], readonly string[]];
    const cipher = shared(ours.cipher, ciphers);
    // These authenticate by themselves.
    const withoutMac = cipher !== undefined && /gcm|poly1305/.test(cipher);
    const lacks: Lack[] = [];
    if (cipher === undefined) lacks.push({ name: 'cipher', kind: 'ciphers', offered: ciphers });
    if (!withoutMac && shared(ours.hmac, macs) === undefined)
      lacks.push({ name: 'MAC', kind: 'macs', offered: macs });
    if (shared(ours.compress, compression) === undefined)
      lacks.push({ name: 'compression', kind: undefined, offered: compression });
    return lacks;
  };
  const lacks: Lack[] = [];
  if (shared(ours.kex, theirs.kex) === undefined)
    lacks.push({ name: 'key exchange algorithm', kind: 'kex', offered: theirs.kex });
  if (shared(ours.serverHostKey, theirs.hostKeys) === undefined)
    lacks.push({ name: 'host key type', kind: 'hostKeys', offered: theirs.hostKeys });
  for (const lack of [...direction(true), ...direction(false)])
    if (!lacks.some(({ name }) => name === lack.name)) lacks.push(lack);
  return lacks;
}

function hintFor(lacks: readonly Lack[], role: Role): string {
  const settings: (readonly [keyword: string, name: string])[] = [];
  for (const { kind, offered } of lacks) {
    const name = kind && KNOWN_ALGORITHMS[kind].find((known) => offered.includes(known));
    if (kind === undefined || name === undefined)
      return "use the system's ssh, which may know one, with --transport openssh; or have a modern one enabled in the server's sshd_config";
    settings.push([KEYWORDS[kind], name]);
  }
  const options = settings.map(([keyword, name]) => `-o ${keyword}=+${name}`).join(' ');
  const lines = settings.map(([keyword, name]) => `"${keyword} +${name}"`).join(', ');
  const allow =
    role === 'hop'
      ? `allow what it has, in ssh_config in a Host section for it: ${lines}`
      : `allow what it has with ${options}, or in ssh_config with ${lines}`;
  return `${allow}; old algorithms are weak, so have the server updated if that is possible`;
}
