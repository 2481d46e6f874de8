/**
 * Ctrl-C at a terminal and SIGTERM while Terraform applies in `tunnel exec`: each reaches Terraform
 * once, which ends in its own way, with its state saved. The tunnel stays until it has ended.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { terraformPrograms } from '../support/terraform.ts';
import {
  type Configuration,
  command,
  errorsOf,
  TerraformLab,
  terraformLabUnavailable,
} from '../support/terraformlab.ts';
import { Tmux } from '../support/tmux.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const APPLY_TIMEOUT_MS = 60_000;
/** So long the backend takes to store a state, where a test needs the time. */
const SLOW_MS = 6_000;
const ONE = /Interrupt received/g;
const TWO = /Two interrupts received/g;

const count = (text: string, pattern: RegExp) => text.match(pattern)?.length ?? 0;

describe('Terraform that is interrupted in exec', { skip: terraformLabUnavailable() }, () => {
  const [program] = terraformPrograms();
  let lab: TerraformLab;
  before(async () => {
    lab = await TerraformLab.create();
  });
  after(() => lab?.close());

  async function initialised(state: string): Promise<Configuration> {
    assert.ok(program !== undefined);
    const configuration = lab.configure({ setting: 'name', state });
    const init = await lab.run(configuration, command(program, 'init'));
    assert.equal(init.status, 0, errorsOf(init));
    return configuration;
  }

  function exec({ targets }: Configuration): string[] {
    assert.ok(program !== undefined);
    const apply = command(program, 'apply', 2);
    return [process.execPath, MAIN, 'exec', '-r', REMOTE, ...targets, '--', ...apply];
  }

  /** Starts it at a terminal, and waits until it has made something. */
  async function atTerminal(
    configuration: Configuration,
    body: (terminal: Tmux) => Promise<void>,
  ): Promise<void> {
    const { directory, env } = configuration;
    const script = join(directory, 'apply');
    const words = (all: readonly string[]) => all.map((word) => `'${word}'`).join(' ');
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const line = `exec env ${words(variables)} ${words(exec(configuration))}`;
    writeFileSync(script, `#!/bin/sh\ncd ${directory}\n${line}\n`, { mode: 0o755 });
    // The server runs in the client's namespace; its own clients only use its socket.
    let started = false;
    const terminal = await Tmux.start(
      directory,
      (argv) => {
        if (started) return argv;
        started = true;
        const { client } = lab.cloud.lab;
        return ['ip', 'netns', 'exec', client.name, ...lab.cloud.withResolver(argv)];
      },
      { HOME: lab.cloud.lab.clientHome },
    );
    try {
      await terminal.type(`${script}; echo "status $?"`, 'Enter');
      await terminal.waitFor(/: Creation complete/, APPLY_TIMEOUT_MS);
      await body(terminal);
    } finally {
      await terminal.close();
    }
  }

  const requests = (state: string) =>
    [...lab.backend.stdout.matchAll(new RegExp(`^(\\w+) /${state} `, 'gm'))].map(
      ([, method]) => method,
    );

  it('by one Ctrl-C ends in order, its state saved and unlocked', async () => {
    const configuration = await initialised('once');
    await atTerminal(configuration, async (terminal) => {
      await terminal.type('', 'C-c');
      await terminal.waitFor(/^status 1$/m, APPLY_TIMEOUT_MS);
      const screen = await terminal.screen();
      assert.equal(count(screen, ONE), 1, screen);
      assert.equal(count(screen, TWO), 0, screen);
      assert.doesNotMatch(screen, /^tunnel: (error|warning)/m);
    });
    assert.deepEqual(requests('once').slice(-2), ['POST', 'UNLOCK']);
  });

  it('by a second Ctrl-C ends at once', async () => {
    const configuration = await initialised(`twice?slow=${SLOW_MS}`);
    await atTerminal(configuration, async (terminal) => {
      await terminal.type('', 'C-c');
      await terminal.waitFor(ONE, APPLY_TIMEOUT_MS);
      const posted = performance.now();
      await terminal.type('', 'C-c');
      await terminal.waitFor(/^status 1$/m, APPLY_TIMEOUT_MS);
      const took = performance.now() - posted;
      assert.ok(took < SLOW_MS, `${took} ms`);
      const screen = await terminal.screen();
      assert.equal(count(screen, ONE), 1, screen);
      assert.equal(count(screen, TWO), 1, screen);
    });
  });

  it('by SIGTERM to the tunnel ends in order', async () => {
    const configuration = await initialised('term');
    const run = await lab.spawn(configuration, exec(configuration));
    await run.waitForLine(/: Creation complete/, APPLY_TIMEOUT_MS);
    assert.deepEqual(await run.stop('SIGTERM', APPLY_TIMEOUT_MS), { status: 1, signal: null });
    const said = run.stdout + run.stderr;
    assert.equal(count(said, ONE), 1, said);
    assert.equal(count(said, TWO), 0, said);
    assert.deepEqual(requests('term').slice(-2), ['POST', 'UNLOCK']);
  });
});
