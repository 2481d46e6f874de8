import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { describe, it } from 'node:test';
import { inheritedDescriptors } from '../../../../src/system/launcher/inherited.ts';

describe('the descriptors that the program passes on to itself', () => {
  it('are those that its arguments name, in each way', () => {
    const fd = openSync('/dev/null', 'w');
    try {
      for (const args of [
        ['--ready-fd', String(fd)],
        [`--ready-fd=${fd}`],
        ['-s', `/dev/fd/${fd}`],
        [`--targets-from=/proc/self/fd/${fd}`],
      ])
        assert.deepEqual(inheritedDescriptors(args), [fd], args.join(' '));
      for (const args of [[String(fd)], ['--ready', String(fd)], ['--ready-fd'], []])
        assert.deepEqual(inheritedDescriptors(args), [], args.join(' '));
    } finally {
      closeSync(fd);
    }
  });

  it('are none of Node’s own, none that is closed, and not the standard ones', () => {
    const own = Array.from({ length: 40 }, (_, fd) => ['--ready-fd', String(fd)]).flat();
    const passed = inheritedDescriptors([...own, '--ready-fd', '1024', '--ready-fd', 'x']);
    for (const fd of passed) assert.ok(fd >= 3);
    assert.ok(passed.length < 10, 'event queues and their pipes are not among them');
  });
});
