import assert from 'node:assert/strict';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  completeIdentity,
  describeUser,
  rootsVariables,
} from '../../../../src/system/privileged/identity.ts';

const ROOT = { HOME: '/root', USER: 'root', LOGNAME: 'root', SHELL: '/bin/bash' };
const ALICE = { HOME: '/home/alice', USER: 'alice', LOGNAME: 'alice', SHELL: '/bin/zsh' };

describe('the environment of a program that runs as the caller of sudo', () => {
  it('loses what is root’s, and keeps what is the caller’s', () => {
    const env = {
      ...ROOT,
      HOME: '/home/alice',
      XDG_CONFIG_HOME: '/root/.config',
      XDG_STATE_HOME: '/home/alice/state',
      XDG_RUNTIME_DIR: '/run/user/0',
      XDG_CACHE_HOME: '/rooty',
      PATH: '/root',
    };
    assert.deepEqual(Object.keys(rootsVariables(env, ROOT)).sort(), [
      'LOGNAME',
      'SHELL',
      'USER',
      'XDG_CONFIG_HOME',
      'XDG_RUNTIME_DIR',
    ]);
  });

  it('gets what login(1) sets, where it is missing', () => {
    const env: NodeJS.ProcessEnv = { HOME: '/elsewhere' };
    completeIdentity(env, ALICE, 4_000_000);
    assert.deepEqual(env, { ...ALICE, HOME: '/elsewhere' });
  });

  it('gets the user’s runtime directory, if it is the user’s', {
    skip: process.getuid?.() !== 0 && 'needs root',
  }, () => {
    const env: NodeJS.ProcessEnv = {};
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-runtime-'));
    try {
      completeIdentity(env, {}, 0, directory);
      assert.equal(env['XDG_RUNTIME_DIR'], directory);
      const others: NodeJS.ProcessEnv = {};
      completeIdentity(others, {}, 1, directory);
      assert.deepEqual(others, {});
    } finally {
      rmdirSync(directory);
    }
  });

  it('says who called what', () => {
    assert.match(describeUser({ SUDO_UID: '1' }), /, who called sudo$/);
    assert.match(describeUser({ DOAS_USER: 'alice' }), /, who called doas$/);
  });
});
