/** Statuses of tunnels that don't run. */
import type { FlowStatus, Status } from '../../../../src/control/status.ts';

/** A moment; the tests set the zone to UTC. */
export const NOW = Date.UTC(2026, 0, 2, 3, 4, 5);

export function flowStatus(id: number, more: Partial<FlowStatus> = {}): FlowStatus {
  return {
    id,
    state: 'open',
    way: 'tun',
    source: '192.0.2.1:40000',
    destination: `10.0.0.${id}:443`,
    names: [],
    askedAt: NOW - 60_000,
    openedAt: NOW - 59_980,
    sentBytes: 0,
    receivedBytes: 0,
    ...more,
  };
}

export function tunnelStatus(list: readonly FlowStatus[], more: Partial<Status> = {}): Status {
  return {
    name: 'lab',
    command: 'connect',
    pid: 4242,
    version: '0.1.0',
    startedAt: NOW - 180_000,
    at: NOW,
    ready: true,
    remote: 'me@jump.example',
    targets: ['10.0.0.0/8'],
    device: 'tunnel0',
    proxies: [],
    forwards: [],
    link: {
      state: 'up',
      since: NOW - 120_000,
      upSince: NOW - 120_000,
      attempt: 1,
      error: undefined,
      holdSeconds: 60,
      held: 0,
      holdEndsAt: undefined,
      redialAt: undefined,
      roundTripMs: 12.34,
      at: 'jump.example:22',
      via: [],
      user: 'me',
      client: 'embedded',
      server: 'OpenSSH_9.9',
      keyExchange: 'mlkem768x25519-sha256',
      cipher: 'aes256-gcm@openssh.com',
      hostKey: 'ssh-ed25519',
    },
    flows: {
      live: list.length,
      opening: 0,
      opened: list.length,
      refused: 0,
      sentBytes: list.reduce((sum, { sentBytes }) => sum + sentBytes, 0),
      receivedBytes: list.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0),
      list,
    },
    refusals: [],
    counters: {},
    checks: [],
    ...more,
  };
}
