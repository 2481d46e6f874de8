/** A glance at a run, for the tests of its report. */
import type { Glance } from '../../../../src/control/status.ts';

export function glanceOf(more: Partial<Glance> = {}): Glance {
  return {
    name: 'lab',
    command: 'connect',
    pid: 4711,
    startedAt: 0,
    at: 100_000,
    ready: true,
    remote: 'user@jumphost',
    targets: ['10.0.0.0/8', 'api.example.com'],
    device: 'tun0',
    proxies: [],
    forwards: [],
    link: {
      state: 'up',
      since: 1_000,
      upSince: 1_000,
      attempt: 0,
      error: undefined,
      holdSeconds: 30,
      held: 0,
      holdEndsAt: undefined,
      redialAt: undefined,
      roundTripMs: 12.34,
      at: '192.0.2.1:22',
      via: [],
      user: 'user',
      client: 'the embedded client',
      server: 'OpenSSH_9.2',
      keyExchange: 'curve25519-sha256',
      cipher: 'aes128-gcm@openssh.com',
      hostKey: 'ssh-ed25519 SHA256:abc',
    },
    flows: { live: 3, opened: 120, refused: 2, sentBytes: 2_000, receivedBytes: 1_000_000 },
    destinations: [],
    refusals: [],
    ...more,
  };
}
