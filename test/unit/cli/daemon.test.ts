import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { asksForDaemon } from '../../../src/cli/daemon.ts';

describe('asksForDaemon', () => {
  for (const line of [
    '-r host -D 10/8',
    '-vD -r host',
    '--daemon -r host',
    'connect -r host 10/8 -D',
    'proxy -qD -r host',
    'up office',
    'up --config file office',
    'up -v office',
  ])
    it(`yes: ${line}`, () => {
      assert.ok(asksForDaemon(line.split(' ')));
    });

  for (const line of [
    '-r host 10/8',
    '-r host -- -D',
    '-i -D -r host', // the value was forgotten, which the command line says
    '-iD -r host',
    'exec -r host -D -- ls',
    'exec -r host 10/8 -- ls -D',
    'up --foreground office',
    'doctor -D',
    '-D --help',
    'up -h',
    'status',
    '',
  ])
    it(`no: ${line}`, () => {
      const asked = asksForDaemon(line.split(' '));
      assert.equal(asked, line.startsWith('-i -D'));
    });
});
