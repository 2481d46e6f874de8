import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { descriptorLimit } from '../../../../src/system/limits.ts';
import { configuredResolvers } from '../../../../src/system/resolver/resolvconf.ts';

describe('configuredResolvers', () => {
  it('reads the addresses of a resolv.conf, and nothing else of it', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
    const file = join(directory, 'resolv.conf');
    writeFileSync(
      file,
      '# nameserver 192.0.2.1\nsearch example.com\nnameserver 10.0.0.53\nnameserver\t2001:DB8::53\nnameserver bogus\n',
    );
    assert.deepEqual(configuredResolvers(file), ['10.0.0.53', '2001:db8::53']);
    rmSync(directory, { recursive: true });
    assert.deepEqual(configuredResolvers(file), []);
  });
});

describe('descriptorLimit', () => {
  it('is what the system says', () => {
    assert.ok(descriptorLimit() >= 256);
  });
});
