import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { resolve as joinPath } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Conduit } from '../../../src/flow/conduit.ts';
import { type AtOnce, DescriptorConduit } from '../../../src/flow/descriptorconduit.ts';
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
  const conduit = (input: string, output: string, endOutput = () => {}, atOnce?: AtOnce) =>
    new DescriptorConduit({
      input: descriptor(input, 'r'),
      output: descriptor(output, 'w'),
      endOutput,
      atOnce,
    });
  const joined = (one: DescriptorConduit, other: DescriptorConduit) =>
    new Promise<FlowResult>((resolve) => join(one, other, resolve));

  /** What a call does at once: every second time less than it could, every fourth time nothing. */
  const hesitating = (): AtOnce => {
    let calls = 0;
    const some = (length: number) => [length, 1000, length, 0][calls++ % 4] ?? 0;
    return {
      read: (fd, into) => {
        const most = some(into.length);
        return most === 0 ? -1 : readSync(fd, into, 0, most, null);
      },
      write: (fd, parts) => {
        const whole = Buffer.concat(parts);
        const most = some(whole.length);
        return most === 0 ? -1 : writeSync(fd, whole.subarray(0, most));
      },
    };
  };
  const never: AtOnce = { read: () => -1, write: () => -1 };

  it('reads nothing before the other end is joined, which could not say what it took', async () => {
    writeFileSync(path('a'), randomBytes(1_000_000));
    writeFileSync(path('b'), '');
    let isJoined = false;
    class Watched extends DescriptorConduit {
      override join(other: Conduit): void {
        isJoined = true;
        super.join(other);
      }
    }
    const reads: boolean[] = [];
    const read: AtOnce['read'] = (fd, into) => {
      reads.push(isJoined);
      return readSync(fd, into, 0, into.length, null) || -1;
    };
    const near = conduit('a', 'to-a', () => {}, { ...hesitating(), read });
    const [input, output] = [descriptor('b', 'r'), descriptor('to-b', 'w')];
    await joined(near, new Watched({ input, output, endOutput: () => {} }));
    assert.ok(reads.length > 1 && reads.every(Boolean), reads.join());
  });

  for (const [how, atOnce] of [
    ['by threads alone', () => undefined],
    ['where nothing can be done at once', () => never],
    ['where some can be done at once', hesitating],
  ] as const) {
    it(`carries both ways to the end, and ends its output once, ${how}`, async () => {
      const [there, back] = [randomBytes(5_000_001), randomBytes(70_000)];
      writeFileSync(path('a'), there);
      writeFileSync(path('b'), back);
      let ends = 0;
      const near = conduit('a', 'to-a', () => ends++, atOnce());
      const far = conduit('b', 'to-b', () => ends++, atOnce());
      const result = await joined(near, far);
      assert.deepEqual(result, { sent: there.length, received: back.length, error: undefined });
      assert.ok(readFileSync(path('to-b')).equals(there));
      assert.ok(readFileSync(path('to-a')).equals(back));
      assert.equal(ends, 2);
    });
  }

  it('lets others have their turn while all can be done at once', async () => {
    let reads = 0;
    const endless: AtOnce = {
      read: (_, into) => {
        reads++;
        return into.length;
      },
      write: (_, parts) => Buffer.concat(parts).length,
    };
    const near = conduit('/dev/zero', 'x', () => {}, endless);
    const far = conduit('/dev/zero', 'y', () => {}, { ...endless, read: () => -1 });
    const over = joined(near, far);
    await new Promise((resolve) => setTimeout(resolve));
    assert.ok(reads > 0);
    near.abort(undefined);
    far.abort(undefined);
    await over;
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

  it('is lost with the error of a call at once: one that may wait would not see it', async () => {
    writeFileSync(path('empty'), '');
    writeFileSync(path('a'), 'some');
    const failing = (syscall: 'read' | 'write'): AtOnce => ({
      ...never,
      [syscall]: () => {
        throw Object.assign(new Error(`${syscall}: ECONNRESET`), { code: 'ECONNRESET' });
      },
    });
    let ends = 0;
    const far = conduit('empty', 'x', () => ends++);
    const unread = await joined(
      conduit('empty', 'y', () => {}, failing('read')),
      far,
    );
    assert.equal(unread.error?.message, 'read: ECONNRESET');
    assert.equal(ends, 0);
    const unwritten = conduit('empty', 'y', () => ends++, failing('write'));
    const { error } = await joined(conduit('a', 'x'), unwritten);
    assert.equal(error?.message, 'write: ECONNRESET');
    assert.equal(ends, 0);
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
