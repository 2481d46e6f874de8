import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Accounts } from '../../../src/system/accounts.ts';

const PASSWD =
  'root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\nyou:x:1001:100::/y:\n';
const GROUP = 'root:x:0:\nme:x:1000:\nusers:x:100:\nboth:x:50:me,you\nmine:x:51:me\nempty:x:52:\n';

describe('Accounts', () => {
  const accounts = new Accounts(PASSWD, GROUP);

  it('know home directories', () => {
    assert.equal(accounts.homeOf('me'), '/home/me');
    assert.equal(accounts.homeOf('other'), undefined);
  });

  it('know groups that have one member only', () => {
    const ofMine = [1000, 51, 100, 50, 52, 0, 4711].filter((gid) => accounts.isPrivate(gid, 1000));
    assert.deepEqual(ofMine, [1000, 51]);
    assert.equal(accounts.isPrivate(0, 0), true);
  });

  it('are none where the files are missing', async () => {
    const none = await Accounts.read('/nonexistent');
    assert.equal(none.homeOf('root'), undefined);
    assert.equal((await Accounts.read()).homeOf('root'), '/root');
  });
});
