/** Where the user's files are, with each kind of $HOME. */
import assert from 'node:assert/strict';
import { userInfo } from 'node:os';
import { it } from 'node:test';
import { homeDirectory } from '../../../src/system/home.ts';

it('takes $HOME, and what the passwd file says where that is empty or not set', () => {
  const { HOME: own } = process.env;
  try {
    process.env['HOME'] = '/somewhere';
    assert.equal(homeDirectory(), '/somewhere');
    process.env['HOME'] = '';
    assert.equal(homeDirectory(), userInfo().homedir);
    delete process.env['HOME'];
    assert.equal(homeDirectory(), userInfo().homedir);
  } finally {
    if (own !== undefined) process.env['HOME'] = own;
  }
});
