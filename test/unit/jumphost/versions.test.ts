import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UsageError } from '../../../src/errors/errors.ts';
import { formatSshdVersion, knows, parseSshdVersion } from '../../../src/jumphost/versions.ts';
import { NotationError } from '../../../src/net/notation.ts';

describe('versions of sshd', () => {
  it('are read as people and sshd write them', () => {
    const printed = 'OpenSSH_9.2p1 Debian-2+deb12u7, OpenSSL 3.0.17 1 Jul 2025';
    for (const text of ['9.2', '9.2p1', 'OpenSSH_9.2p1', printed])
      assert.deepEqual(parseSshdVersion(text), [9, 2]);
    assert.equal(formatSshdVersion(parseSshdVersion('10.0p2')), '10.0');
  });

  it('are refused where they are none, too old, or not known yet', () => {
    for (const text of ['', '9', 'nine', '9.2.1', '-9.2', '9.2\n', '9.2rc'])
      assert.throws(() => parseSshdVersion(text), NotationError, text);
    for (const text of ['7.9', '8.1p1', '10.3', '11.0'])
      assert.throws(() => parseSshdVersion(text), UsageError, text);
    for (const text of ['8.2', '10.2']) parseSshdVersion(text);
  });

  it('are compared by number', () => {
    assert.equal(knows([9, 7], 'perSourcePenalties'), false);
    assert.equal(knows([9, 8], 'perSourcePenalties'), true);
    assert.equal(knows([10, 0], 'perSourcePenalties'), true);
    assert.equal(knows([8, 3], 'matchInInclude'), false);
  });
});
