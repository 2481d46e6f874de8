/**
 * 50 ms away: how long Terraform takes to apply sixty resources of OpenStack and to plan them
 * again, through a running tunnel and through a running `ssh -D`, which its HTTP client knows as a
 * SOCKS proxy. Both carry names. The configuration is that of the tests (terraformlab.ts), with a
 * real Keystone.
 *
 * Most of the time the client waits for round trips: it keeps 2 idle connections to a host, so that
 * of 10 requests at a time most open a new one.
 */
import { terraformPrograms } from '../../test/support/terraform.ts';
import {
  type Configuration,
  command,
  errorsOf,
  TerraformLab,
  terraformLabUnavailable,
  type Verb,
} from '../../test/support/terraformlab.ts';
import { MAIN, REMOTE } from '../../test/support/tunnel.ts';
import { contenders } from './contenders.ts';
import type { Measurement, Reading, Run } from './measurement.ts';
import { type Peer, sshSocks, tunnel, tunnelExec } from './peers.ts';
import { cpuSeconds } from './processcost.ts';

const RTT_MS = 50;
const START_TIMEOUT_MS = 30_000;
const STEPS = ['apply', 'plan'] as const;

const seconds = (step: string) => `${step}, s`;
const processor = (step: string) => `${step}, processor ms of the client side`;
const overSocks = (step: string) => (read: Reading) =>
  read(seconds(step), tunnel.name) / read(seconds(step), sshSocks.name);

/** How Terraform is run, so that something carries its connections. */
interface Carrier {
  readonly env?: Readonly<Record<string, string>>;
  readonly wrap?: (argv: readonly string[]) => string[];
  /** The process that is running already. */
  readonly pid?: number | undefined;
}

/** Runs `work` while the peer carries Terraform's connections. */
async function through(
  lab: TerraformLab,
  peer: Peer,
  { targets }: Configuration,
  work: (carrier: Carrier) => Promise<void>,
): Promise<void> {
  const { cloud } = lab;
  if (peer === tunnelExec)
    return work({
      wrap: (argv) => [process.execPath, MAIN, 'exec', '-r', REMOTE, ...targets, '--', ...argv],
    });
  if (peer === sshSocks) {
    const ssh = await peer.start(cloud.lab);
    const proxy = `socks5://127.0.0.1:${peer.route.socksPort}`;
    try {
      await work({ env: { HTTPS_PROXY: proxy, HTTP_PROXY: proxy }, pid: ssh?.pid });
    } finally {
      await ssh?.stop('SIGTERM');
    }
    return;
  }
  const own = [process.execPath, MAIN, '-r', REMOTE, ...targets];
  const child = await cloud.lab.client.spawn(cloud.withResolver(own));
  try {
    await child.waitForLine(/tunnel: ready\n/, START_TIMEOUT_MS);
    await work({ pid: child.pid });
  } finally {
    await child.stop('SIGINT');
  }
}

async function run(run: Run): Promise<void> {
  const missing = terraformLabUnavailable();
  const [program] = terraformPrograms();
  if (missing !== false || program === undefined)
    throw new Error(`${missing || 'no Terraform'}; ./scripts/test terraform gets it`);
  const lab = await TerraformLab.create({ rtt: RTT_MS });
  try {
    const configuration = lab.configure({ setting: 'clouds.yaml' });
    const step = async (verb: Verb, { env = {}, wrap = (argv) => [...argv] }: Carrier) => {
      const begin = performance.now();
      const result = await lab.run(configuration, wrap(command(program, verb)), env);
      if (result.status !== 0) throw new Error(`${verb}: ${errorsOf(result)}`);
      return (performance.now() - begin) / 1000;
    };
    await step('init', {});
    for (let round = 0; round < run.rounds; round++) {
      for (const peer of contenders(round, run, [tunnel, sshSocks], [tunnelExec])) {
        await through(lab, peer, configuration, async (carrier) => {
          const { pid } = carrier;
          for (const verb of STEPS) {
            const before = pid === undefined ? 0 : cpuSeconds(pid);
            run.record(seconds(verb), peer.name, await step(verb, carrier));
            if (pid !== undefined)
              run.record(processor(verb), peer.name, 1000 * (cpuSeconds(pid) - before));
          }
          await step('destroy', carrier);
        });
      }
    }
  } finally {
    await lab.close();
  }
}

export const terraform: Measurement = {
  name: 'terraform',
  title: `Terraform, ${RTT_MS} ms round trip`,
  how: 'A configuration of 61 resources is applied and planned again, 10 at a time, with a real Keystone; ssh -D through HTTPS_PROXY=socks5://. The time of tunnel exec includes its login.',
  besideNoise: true,
  rounds: 9,
  checks: STEPS.map((step) => ({
    what: `terraform ${step}, ${RTT_MS} ms: tunnel / ssh -D`,
    target: { atMost: 1 },
    value: overSocks(step),
  })),
  run,
};
