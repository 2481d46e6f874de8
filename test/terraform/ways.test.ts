/**
 * Terraform and OpenTofu, with the provider for OpenStack, through each way into the tunnel: a
 * configuration of sixty resources is applied, planned without changes, and destroyed. Each way has
 * another parallelism, and tells the provider of its cloud in another way.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CLIENT4, JUMPHOST_PRIVATE4 } from '../support/addresses.ts';
import { NO_USER_NAMESPACES } from '../support/execlab.ts';
import type { Child, ExecResult } from '../support/process.ts';
import { type TerraformProgram, terraformPrograms } from '../support/terraform.ts';
import {
  type Configuration,
  command,
  errorsOf,
  type Parts,
  RESOURCES,
  TerraformLab,
  terraformLabUnavailable,
  type Verb,
} from '../support/terraformlab.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const START_TIMEOUT_MS = 20_000;

interface Way {
  readonly name: string;
  readonly parts: Parts;
  readonly parallelism: number;
  /** Turns Terraform's command line into the one to run. */
  wrap(targets: readonly string[], argv: readonly string[]): string[];
  /** `connect` has to run beside it. */
  readonly beside?: true;
  /** What the tunnel says. */
  readonly says?: RegExp;
}

const exec = (options: readonly string[], argv: readonly string[]): string[] => [
  ...[process.execPath, MAIN, 'exec', '-r', REMOTE, ...options, '--', ...argv],
];

const EXEC: Way = {
  name: 'exec',
  parts: { setting: 'OS_*', state: 'exec', programs: true },
  parallelism: 10,
  wrap: exec,
};

const WAYS: readonly Way[] = [
  EXEC,
  {
    name: 'exec --isolate',
    // What it isolates from has the state, too.
    parts: { setting: 'clouds.yaml', programs: true },
    parallelism: 30,
    wrap: (targets, argv) => exec(['--isolate', ...targets], argv),
  },
  {
    name: 'the proxy of exec, where it cannot make a network',
    parts: { setting: 'name', state: 'proxy', programs: true },
    parallelism: 1,
    wrap: (targets, argv) => [
      // Without capabilities a network namespace needs a user namespace.
      ...['sh', '-c', NO_USER_NAMESPACES, 'sh'],
      ...['setpriv', '--bounding-set=-all', '--inh-caps=-all', ...exec(targets, argv)],
    ],
    says: /proxy variables instead/,
  },
  {
    name: 'connect',
    parts: { setting: 'address', state: 'connect' },
    parallelism: 10,
    wrap: (_, argv) => [...argv],
    beside: true,
  },
];

describe('Terraform', { skip: terraformLabUnavailable() }, () => {
  let lab: TerraformLab;
  before(async () => {
    lab = await TerraformLab.create();
  });
  after(() => lab?.close());

  async function startConnect({ targets }: Configuration): Promise<Child> {
    const argv = [process.execPath, MAIN, '-r', REMOTE, ...targets];
    const tunnel = await lab.cloud.lab.client.spawn(lab.cloud.withResolver(argv));
    await tunnel.waitForLine(/tunnel: ready\n/, START_TIMEOUT_MS);
    return tunnel;
  }

  /** Requests that an answer of the cloud has refused since `begin`. */
  const refused = (begin: number) =>
    lab.cloud
      .accessLog()
      .slice(begin)
      .filter(({ status, request }) => status >= 400 && !request.startsWith('GET '));

  async function applyAndDestroy(
    program: TerraformProgram,
    { parts, parallelism, wrap, says }: Way,
    configuration: Configuration,
  ): Promise<void> {
    const begin = lab.cloud.accessLog().length;
    const run = async (verb: Verb): Promise<ExecResult> => {
      const argv = wrap(configuration.targets, command(program, verb, parallelism));
      const result = await lab.run(configuration, argv);
      assert.equal(result.status, 0, `${verb}: ${errorsOf(result)}`);
      if (says !== undefined) assert.match(result.stderr, says);
      return result;
    };
    await run('init');
    const applied = await run('apply');
    const all = RESOURCES + (parts.programs ? 1 : 0);
    assert.match(applied.stdout, new RegExp(`${all} added, 0 changed, 0 destroyed`));
    if (parts.programs) {
      assert.match(applied.stdout, /external = "200"/);
      assert.equal(readFileSync(join(configuration.directory, 'local-exec.status'), 'utf8'), '200');
    }
    await run('plan'); // with -detailed-exitcode: 2 would be a change
    const destroyed = await run('destroy');
    assert.match(destroyed.stdout, new RegExp(`${all} destroyed`));

    assert.deepEqual(refused(begin), []);
    const { stdout } = lab.backend;
    const state = new RegExp(`^(\\w+) /${parts.state} (.*)$`, 'gm');
    const stored = [...stdout.matchAll(state)].map(([, method, from]) => ({ method, from }));
    if (parts.state === undefined) return;
    assert.deepEqual(new Set(stored.map(({ from }) => from)), new Set([CLIENT4]));
    for (const method of ['LOCK', 'POST', 'UNLOCK', 'GET'])
      assert.ok(
        stored.some((one) => one.method === method),
        stdout,
      );
  }

  const [first, second] = terraformPrograms();
  const ways = WAYS.map((way) => ({ way, program: first }));
  // The other program differs in nothing that the tunnel could notice.
  const state = 'second';
  const again = { ...EXEC, parts: { ...EXEC.parts, state }, parallelism: 30 };
  for (const { way, program } of [...ways, { way: again, program: second }]) {
    const name = program?.name ?? 'OpenTofu beside Terraform';
    const skip = program === undefined && 'not both are here: ./scripts/test terraform';
    it(`${name} through ${way.name}, parallelism ${way.parallelism}`, { skip }, async () => {
      assert.ok(program !== undefined);
      const configuration = lab.configure(way.parts);
      const tunnel = way.beside && (await startConnect(configuration));
      try {
        await applyAndDestroy(program, way, configuration);
      } finally {
        await tunnel?.stop('SIGINT');
      }
    });
  }

  it('has sent all that from the jump host', () => {
    const log = lab.cloud.accessLog();
    assert.ok(log.length > RESOURCES * WAYS.length);
    assert.deepEqual(new Set(log.map(({ source }) => source)), new Set([JUMPHOST_PRIVATE4]));
  });
});
