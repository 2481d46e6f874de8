/**
 * sing-box as a peer, if it is installed: a TUN device with gVisor's TCP in user space, and one SSH
 * connection behind it. The binary is the one that BENCH_SING_BOX names, or `sing-box` in PATH; it
 * has to be built with the tag with_gvisor:
 *
 *   go install -tags with_gvisor github.com/sagernet/sing-box/cmd/sing-box@v1.11.15
 */
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { API1, JUMPHOST4, PRIVATE4 } from '../../test/support/addresses.ts';
import { JUMP_USER } from '../../test/support/credentials.ts';
import type { Lab } from '../../test/support/lab.ts';
import { SEARCH_PATH } from '../../test/support/process.ts';
import { LOAD_PORT, type Peer } from './peers.ts';

const SSH_PORT = 22;
/** Free in the lab. */
const DEVICE_ADDRESS = '172.18.0.1/30';

/**
 * The smallest configuration that works: the lab's private network through SSH, everything else
 * unchanged.
 */
export function configuration(lab: Pick<Lab, 'credentials'>): string {
  const hostKeys = lab.credentials.hostKeys.map((path) =>
    readFileSync(`${path}.pub`, 'utf8').trim(),
  );
  return JSON.stringify({
    log: { level: 'error' },
    inbounds: [
      {
        type: 'tun',
        tag: 'tun',
        address: [DEVICE_ADDRESS],
        stack: 'gvisor',
        auto_route: true,
        route_address: [PRIVATE4],
      },
    ],
    outbounds: [
      {
        type: 'ssh',
        tag: 'jump host',
        server: JUMPHOST4,
        server_port: SSH_PORT,
        user: JUMP_USER,
        private_key_path: lab.credentials.keys.authorized,
        host_key: hostKeys,
      },
    ],
    route: { final: 'jump host' },
  });
}

function find(): string | undefined {
  const given = process.env['BENCH_SING_BOX'];
  const candidates =
    given === undefined
      ? SEARCH_PATH.split(delimiter).map((path) => join(path, 'sing-box'))
      : [given];
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch (error) {
      if (given !== undefined)
        throw new Error(`BENCH_SING_BOX="${given}" can't be run`, { cause: error });
      return false;
    }
  });
}

/** Empty if it isn't installed. */
export function singBox(): Peer[] {
  const program = find();
  if (program === undefined) return [];
  return [
    {
      name: 'sing-box',
      route: { host: API1, port: LOAD_PORT },
      // It prints nothing when it is ready; the stage waits until it carries traffic.
      start(lab) {
        const file = join(lab.directory, 'sing-box.json');
        writeFileSync(file, configuration(lab));
        return lab.client.spawn([program, 'run', '-c', file, '-D', lab.directory]);
      },
    },
  ];
}
