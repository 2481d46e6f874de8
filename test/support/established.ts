/** A connection as `tunnel doctor` describes it. */
import type { Established } from '../../src/ssh/established.ts';

export const ESTABLISHED: Established = {
  at: '192.0.2.1:22',
  via: [],
  client: 'the embedded client',
  software: 'OpenSSH_9.2p1 Debian-2',
  algorithms: {
    kex: 'curve25519-sha256',
    hostKey: 'ssh-ed25519',
    cipher: 'aes128-gcm@openssh.com',
    mac: undefined,
  },
  hostKey: {
    key: 'ssh-ed25519 SHA256:abc',
    why: 'line 3 of /home/u/.ssh/known_hosts has it',
  },
  login: {
    user: 'u',
    permitted: ['publickey'],
    accepted: ['id_ed25519 (ssh-ed25519 SHA256:key)'],
    keysOffered: 1,
  },
  sendWindow: 2 * 2 ** 20,
  receiveWindow: 16 * 2 ** 20,
  answersRequests: true,
  forwarding: undefined,
};
