import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { DescriptorConduit } from '../../../src/flow/descriptorconduit.ts';
import { type FlowResult, join } from '../../../src/flow/join.ts';

describe('DescriptorConduit', () => {
  let directory: string;
  const open: number[] = [];

  beforeEach(() => {
    directory = mkdtempSync(joinPath(tmpdir(), 'tunnel-descriptors-'));
  });
  afterEach(() => {
    for (const fd of open.splice(0)) closeSync(fd);
    rmSync(directory, { recursive: true });
  });

  const path = (name: string) => joinPath(directory, name);
  const descriptor = (name: string, flags: string): number => {
    const fd = openSync(path(name), flags);
    open.push(fd);
    return fd;
  };
  const conduit = (input: string, output: string, endOutput = () => {}) =>
    new DescriptorConduit({
      input: descriptor(input, 'r'),
      output: descriptor(output, 'w'),
      endOutput,
    });
  const joined = (one: DescriptorConduit, other: DescriptorConduit) =>
    new Promise<FlowResult>((resolve) => join(one, other, resolve));

  it('carries both ways to the end, and ends its output once', async () => {
    const [there, back] = [randomBytes(5_000_001), randomBytes(70_000)];
    writeFileSync(path('a'), there);
    writeFileSync(path('b'), back);
    let ends = 0;
    const near = conduit('a', 'to-a', () => ends++);
    const far = conduit('b', 'to-b', () => ends++);
    const result = await joined(near, far);
    assert.deepEqual(result, { sent: there.length, received: back.length, error: undefined });
    assert.ok(readFileSync(path('to-b')).equals(there));
    assert.ok(readFileSync(path('to-a')).equals(back));
    assert.equal(ends, 2);
  });

  it('aborts the other end if it cannot be read, written or ended', async () => {
    writeFileSync(path('a'), 'some');
    const directories = new DescriptorConduit({
      input: openSync(directory, 'r'),
      output: descriptor('x', 'w'),
      endOutput: () => {},
    });
    const unread = await joined(conduit('a', 'y'), directories);
    assert.match(unread.error?.message ?? '', /^EISDIR/);
    const full = new DescriptorConduit({
      input: descriptor('a', 'r'),
      output: openSync('/dev/full', 'w'),
      endOutput: () => {},
    });
    const unwritten = await joined(conduit('a', 'y'), full);
    assert.match(unwritten.error?.message ?? '', /^ENOSPC/);
    const endless = conduit('a', 'z', () => {
      throw new Error('not that one');
    });
    const unended = await joined(conduit('a', 'y'), endless);
    assert.equal(unended.error?.message, 'not that one');
  });

  it('is over when it is shut and has ended its output, while a read waits', async () => {
    spawnSync('mkfifo', [path('fifo')]);
    // Open for both: nobody writes, and it has no end.
    const input = openSync(path('fifo'), 'r+');
    const near = new DescriptorConduit({
      input,
      output: descriptor('x', 'w'),
      endOutput: () => {},
    });
    const far = conduit('x', 'y');
    const over = new Promise<Error | undefined>((resolve) => near.whenOver(resolve));
    near.join(far);
    near.finish();
    near.shut();
    assert.equal(await over, undefined);
    // Lets the read go, for which this process would wait.
    writeFileSync(input, '\n');
    closeSync(input);
  });
});
