import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ERRORS, type ErrorCode, exitStatusOf } from '../../../src/errors/codes.ts';
import { TunnelError } from '../../../src/errors/errors.ts';
import { errorTable, exitTable } from '../../../src/errors/tables.ts';
import { REFUSALS } from '../../../src/net/refusal.ts';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const CODES: readonly ErrorCode[] = ERRORS.flatMap(({ codes }) => [...codes]);
const doc = (name: string) => readFileSync(join(ROOT, 'docs', name), 'utf8');

/** All of src/ except the declaration itself. */
function source(): string {
  return readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && path !== 'errors/codes.ts')
    .map((path) => readFileSync(join(ROOT, 'src', path), 'utf8'))
    .join('\n');
}

describe('ErrorCode', () => {
  it('has each code once', () => {
    assert.deepEqual([...CODES].sort(), [...new Set(CODES)].sort());
    for (const code of CODES) assert.match(code, /^[a-z0-9]+(-[a-z0-9]+)*$/);
  });

  it('refuses a code that is not declared', () => {
    // @ts-expect-error: a misspelt code doesn't compile.
    assert.equal(new TunnelError('host-key-chagned', 'x').code, 'host-key-chagned');
  });

  it('refuses some codes without a hint', () => {
    // @ts-expect-error: nobody knows what to do about a tunnel that does not answer.
    assert.equal(new TunnelError('control-failed', 'x').hint, undefined);
    // @ts-expect-error: a cause is no hint.
    assert.equal(new TunnelError('system-limit', 'x', { cause: 'y' }).hint, undefined);
    assert.equal(new TunnelError('control-failed', 'x', { hint: 'y' }).hint, 'y');
    for (const group of ERRORS) {
      const about = /^(?:control|system|no-such-tunnel)/;
      assert.equal(
        'hinted' in group,
        group.codes.some((code) => about.test(code)),
        group.meaning,
      );
    }
  });

  it('has a code for each refusal, and no other that begins so', () => {
    assert.deepEqual(
      CODES.filter((code) => code.startsWith('connect-')).sort(),
      REFUSALS.map((refusal) => `connect-${refusal}`).sort(),
    );
  });

  it('has none that nothing uses', () => {
    const text = source();
    const built = /^connect-|^dns-(busy|timeout|closed|unreachable|malformed)$/;
    for (const code of CODES) {
      if (built.test(code)) {
        assert.match(text, new RegExp(`'${code.replace(/^(connect|dns)-/, '')}'`), code);
      } else assert.ok(text.includes(`'${code}'`), code);
    }
  });
});

describe('the tables of the documents', () => {
  it('docs/usage.md shows each code with its exit status', () => {
    assert.ok(doc('usage.md').includes(errorTable()), `it should have:\n${errorTable()}`);
  });

  it('docs/usage.md shows the exit statuses', () => {
    assert.ok(doc('usage.md').includes(exitTable()), `it should have:\n${exitTable()}`);
  });

  it('docs/troubleshooting.md has cause and remedy of each code, once', () => {
    const [, ...sections] = doc('troubleshooting.md').split(/^### /m);
    const shown = sections.map((section) => {
      const [, code = section, body = ''] = /^`([a-z0-9-]+)`\n(.*)/s.exec(section) ?? [];
      assert.match(body, /^\n- Cause: \S.*\n- Do: \S/s, code);
      return code;
    });
    assert.deepEqual(shown.sort(), CODES.toSorted());
  });

  it('docs/openstack.md gives the codes of a cloud the same statuses', () => {
    const rows = [...doc('openstack.md').matchAll(/^\| (`openstack-.*?) \| (\d+) \|/gm)];
    const shown = rows.flatMap(([, codes = '', status]) =>
      [...codes.matchAll(/`([a-z-]+)`/g)].map(([, code = '']) => `${code} ${status}`),
    );
    const declared = CODES.filter((code) => code.startsWith('openstack-'));
    assert.deepEqual(shown.sort(), declared.map((code) => `${code} ${exitStatusOf(code)}`).sort());
  });
});
