/** Changes of users, by Node and by the addon: the same in all threads. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';

const CALLER = new URL('../../../../src/system/launcher/caller.js', import.meta.url).href;
const OBSERVER = new URL('../../../../src/observe/observer.js', import.meta.url).href;
/** As Debian's Node has it, which refuses any change of users. Not in its types. */
const SHARED_LIBUV = Object.entries(process.config.variables).some(
  ([name, value]) => name === 'node_shared_libuv' && String(value) === 'true',
);
/** In no user database. */
const STRANGER = 47_110;

/** Those of each thread, from the start until the process is the user's for good. */
interface Identities {
  readonly before: readonly string[];
  readonly acting: readonly string[];
  readonly back: readonly string[];
  readonly after: readonly string[];
}

function identities(user: { uid: number; gid: number }, refuses: boolean, libuv = ''): Identities {
  const script = `
    import { readdirSync, readFileSync } from 'node:fs';
    const { actAs, becomeUser } = await import(${JSON.stringify(CALLER)});
    const { silentObserver } = await import(${JSON.stringify(OBSERVER)});
    const refuse = () => { throw Object.assign(new Error('disabled'), { code: 'ERR_INVALID_STATE' }); };
    if (${refuses})
      for (const name of ['setgroups', 'initgroups', 'setegid', 'seteuid', 'setgid', 'setuid'])
        process[name] = refuse;
    if (${JSON.stringify(libuv)} !== '')
      Object.defineProperty(process, 'versions', { value: { ...process.versions, uv: ${JSON.stringify(libuv)} } });
    const look = () => [...new Set(readdirSync('/proc/self/task').map((it) => {
      const status = readFileSync('/proc/self/task/' + it + '/status', 'latin1');
      const of = (name) => new RegExp('^' + name + ':[\\\\t ]*(.*?)[\\\\t ]*$', 'm').exec(status)?.[1];
      return ['Uid', 'Gid', 'Groups'].map((name) => name + ' ' + of(name)).join('; ');
    }))];
    const user = ${JSON.stringify(user)};
    const before = look();
    const back = actAs(user);
    const acting = look();
    back();
    const again = look();
    becomeUser(user, silentObserver);
    console.log(JSON.stringify({ before, acting, back: again, after: look() }));`;
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '--eval', script],
    { encoding: 'utf8', env: { PATH: process.env['PATH'] } },
  );
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

describe('a change of users', {
  skip: process.getuid?.() !== 0 && 'only root can change users',
}, () => {
  for (const [what, refuses, libuv] of [
    ['by Node', false, ''],
    ['by the addon, where Node refuses it', true, '1.50.0'],
  ] as const) {
    it(`is for all threads, and for a while or for good, ${what}`, () => {
      const user = { uid: STRANGER, gid: STRANGER };
      const { before, acting, back, after } = identities(user, refuses, libuv);
      // Node counts the group of the process to its supplementary ones.
      const withoutGroups = (all: readonly string[]) => all.map((it) => it.split('; Groups')[0]);
      assert.deepEqual(withoutGroups(before), ['Uid 0\t0\t0\t0; Gid 0\t0\t0\t0']);
      assert.deepEqual(withoutGroups(back), withoutGroups(before));
      const byAddon = refuses || SHARED_LIBUV;
      const groups = `Groups ${byAddon ? STRANGER : ''}`;
      const effective = `0\t${STRANGER}\t0\t${STRANGER}`;
      assert.deepEqual(acting, [`Uid ${effective}; Gid ${effective}; ${groups}`]);
      const all = Array.from({ length: 4 }, () => STRANGER).join('\t');
      assert.deepEqual(after, [`Uid ${all}; Gid ${all}; ${groups}`]);
    });
  }

  it('has the groups of the user database', () => {
    const [, uid = 0, gid = 0] = spawnSync('getent', ['passwd', 'games'], { encoding: 'utf8' })
      .stdout.split(':')
      .slice(1, 4)
      .map(Number);
    const byNode = identities({ uid, gid }, false);
    assert.deepEqual(identities({ uid, gid }, true, '1.50.0'), byNode);
  });

  it('is refused where libuv may use io_uring without being asked to', () => {
    const user = { uid: STRANGER, gid: STRANGER };
    assert.throws(
      () => identities(user, true, '1.48.0'),
      /launcher-privileges[\s\S]*unset UV_USE_IO_URING|unset UV_USE_IO_URING[\s\S]*launcher-privileges/,
    );
  });
});
