/**
 * The connection to the jump host is lost while Terraform applies, as docs/terraform.md has it:
 * requests that may be repeated are repeated; one that makes something fails, and the cloud may
 * have made it all the same. The next apply makes the rest; what the cloud has already is refused
 * with its id, by which it is imported.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecResult } from '../support/process.ts';
import { terraformPrograms } from '../support/terraform.ts';
import {
  command,
  errorsOf,
  TerraformLab,
  terraformLabUnavailable,
  type Verb,
} from '../support/terraformlab.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const RTT_MS = 50;
const APPLY_TIMEOUT_MS = 120_000;
const POLL_MS = 5;
const LOST =
  /Error creating openstack_identity_project_v3: Post "https:\/\/keystone\.cloud\.example\/v3\/projects": .*?(connection reset by peer|EOF)/g;
const CONFLICT = /409.*?name is c1-project-(\d+), *project id ([0-9a-f]{32})/g;

/** Terraform wraps its messages at the width of a terminal, and draws a line before them. */
const unwrapped = (result: ExecResult) => errorsOf(result).replace(/\n[│ ]*/g, ' ');

describe('Terraform whose tunnel is lost', { skip: terraformLabUnavailable() }, () => {
  const [program] = terraformPrograms();
  let lab: TerraformLab;
  before(async () => {
    lab = await TerraformLab.create({ rtt: RTT_MS });
  });
  after(() => lab?.close());

  const posts = (status: number) =>
    lab.cloud
      .accessLog()
      .filter((entry) => entry.request === 'POST /v3/projects' && entry.status === status).length;

  it('fails where it was making something, and the next apply goes on', async () => {
    assert.ok(program !== undefined);
    const configuration = lab.configure({ setting: 'name', state: 'lost' });
    const wrap = (verb: Verb) => [
      ...[process.execPath, MAIN, 'exec', '-r', REMOTE, ...configuration.targets, '--'],
      ...command(program, verb),
    ];
    const init = await lab.run(configuration, command(program, 'init'));
    assert.equal(init.status, 0, errorsOf(init));

    // Keystone handles one request at a time, so the others are under way when one has its answer.
    const first = await lab.spawn(configuration, wrap('apply'));
    for (const until = performance.now() + APPLY_TIMEOUT_MS; posts(201) === 0; await sleep(POLL_MS))
      assert.ok(performance.now() < until && first.ended === undefined, first.stderr);
    await lab.cloud.lab.sshd.dropConnections();
    const ended = await first.wait(APPLY_TIMEOUT_MS);
    const said = unwrapped({ ...ended, stdout: first.stdout, stderr: first.stderr });
    assert.equal(ended.status, 1, said);
    assert.match(first.stderr, /tunnel: link lost: .*reconnecting\n/);
    assert.match(first.stderr, /tunnel: reconnected after/);
    const failed = said.match(LOST)?.length ?? 0;
    assert.ok(failed > 0, said);
    // Nothing but requests that make something has failed.
    assert.equal(said.match(/Error: /g)?.length, said.match(/Error: Error creating /g)?.length);
    assert.match(lab.backend.stdout, /POST \/lost .*\nUNLOCK \/lost .*\n$/);

    const second = await lab.run(configuration, wrap('apply'));
    const conflicts = [...unwrapped(second).matchAll(CONFLICT)];
    assert.equal(second.status, conflicts.length > 0 ? 1 : 0, errorsOf(second));
    assert.equal(unwrapped(second).match(/Error: /g)?.length ?? 0, conflicts.length);
    assert.ok(conflicts.length <= failed);

    const imports = conflicts.map(([, index, id]) => ({
      to: `openstack_identity_project_v3.all[${index}]`,
      id,
    }));
    const file = join(configuration.directory, 'import.tf.json');
    if (imports.length > 0) writeFileSync(file, JSON.stringify({ import: imports }));
    const third = await lab.run(configuration, wrap('apply'));
    assert.equal(third.status, 0, errorsOf(third));
    const plan = await lab.run(configuration, wrap('plan'));
    assert.equal(plan.status, 0, errorsOf(plan));
    const destroyed = await lab.run(configuration, wrap('destroy'));
    assert.equal(destroyed.status, 0, errorsOf(destroyed));
  });
});
