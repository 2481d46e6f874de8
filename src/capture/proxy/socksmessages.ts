/** The messages of SOCKS 4, 4a and 5, as octets. */
export const SOCKS4 = 0x04;
export const SOCKS5 = 0x05;

/** RFC 1928 §3 */
export const METHOD = { none: 0x00, password: 0x02, noneAcceptable: 0xff } as const;
/** RFC 1928 §4; SOCKS4 has the first two. */
export const COMMAND = { connect: 0x01, bind: 0x02, udpAssociate: 0x03 } as const;
/** RFC 1928 §5 */
export const ADDRESS_TYPE = { ipv4: 0x01, name: 0x03, ipv6: 0x04 } as const;
/** RFC 1929 §2 */
export const PASSWORD_VERSION = 0x01;
export const PASSWORD_STATUS = { success: 0x00, failure: 0x01 } as const;
/** "SOCKS: A protocol for TCP proxy across firewalls", CD codes */
export const SOCKS4_REPLY = { granted: 90, rejected: 91 } as const;

/** RFC 1928 §3 */
export function methodReply(method: number): Buffer {
  return Buffer.of(SOCKS5, method);
}

/** RFC 1929 §2 */
export function passwordReply(status: number): Buffer {
  return Buffer.of(PASSWORD_VERSION, status);
}

/**
 * RFC 1928 §6. The bound address is left unspecified: it belongs to the jump host, which doesn't
 * report it.
 */
export function socks5Reply(reply: number): Buffer {
  return Buffer.of(SOCKS5, reply, 0x00, ADDRESS_TYPE.ipv4, 0, 0, 0, 0, 0, 0);
}

export function socks4Reply(reply: number): Buffer {
  return Buffer.of(0x00, reply, 0, 0, 0, 0, 0, 0);
}

/** The answer to a client that speaks SOCKS to a port that doesn't. */
export function wrongProtocolReply(version: number | undefined): Buffer {
  return version === SOCKS4
    ? socks4Reply(SOCKS4_REPLY.rejected)
    : methodReply(METHOD.noneAcceptable);
}

/** 0.0.0.x with x other than 0: the name follows the user (SOCKS 4A). */
export function isSocks4aMarker(address: Buffer): boolean {
  return address.readUInt32BE(0) >>> 8 === 0 && address[3] !== 0;
}
