/** LocalForward and what decides about it, as `ssh -G` answers and as the program evaluates it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { UsageError } from '../../../../src/errors/errors.ts';
import { forwardKeywords, isNoneOf } from '../../../../src/ssh/config/forwards.ts';
import { copySshConfig } from '../../../../src/ssh/config/resolve.ts';
import {
  both,
  LACKING,
  type Lab,
  lab,
  NO_SSH,
  options,
  resolve,
} from '../../../support/sshconfiglab.ts';

describe('forwards of ssh_config', { skip: LACKING }, () => {
  const forwardsOf = async (where: Lab, sshOption: readonly string[] = []) =>
    (await both(where, 'a', { sshOption })).forwards;

  it('adds up all that apply, as ssh does, each once', async () => {
    const where = lab(
      `Host a
        LocalForward 8080 db.internal:5432
        LocalForward [::1]:8081 [2001:db8::5]:http
        LocalForward *:8082 web:80
        LocalForward 8080 db.internal:5432
      Host b
        LocalForward 9999 no:1
      Host *
        LocalForward 127.0.0.1:8083 DB:80`,
      {},
      'LocalForward localhost:8084 [10.0.0.1]:80',
    );
    const { local, unfit, cleared } = await forwardsOf(where, ['LocalForward=8085 opt:80']);
    assert.deepEqual(
      local.map(({ text }) => text),
      [
        'LocalForward 8085 opt:80',
        'LocalForward 8080 db.internal:5432',
        'LocalForward [::1]:8081 [2001:db8::5]:80',
        'LocalForward *:8082 web:80',
        'LocalForward 127.0.0.1:8083 db:80',
        'LocalForward localhost:8084 10.0.0.1:80',
      ],
    );
    assert.deepEqual([unfit, cleared], [[], false]);
  });

  it('expands the path of a socket once', async () => {
    const where = lab(`LocalForward /run/%u/100%%.sock db:80\nLocalForward \${DIR}/x db:81`);
    const { local } = await forwardsOf(where);
    assert.deepEqual(
      local.map(({ listen }) => listen.kind === 'socket' && listen.path.replace(/^.*\//, '')),
      ['100%.sock', 'x'],
    );
  });

  it('reads how ports and sockets listen', async () => {
    const none = await forwardsOf(lab(''));
    const { gatewayPorts, exitOnFailure, socketMask, unlinksSockets } = none;
    assert.deepEqual(
      [gatewayPorts, exitOnFailure, socketMask, unlinksSockets],
      [false, false, 0o177, false],
    );
    const all = await forwardsOf(
      lab(`GatewayPorts yes
        ExitOnForwardFailure yes
        StreamLocalBindMask 0117
        StreamLocalBindUnlink yes`),
    );
    assert.equal(all.gatewayPorts && all.exitOnFailure && all.unlinksSockets, true);
    assert.equal(all.socketMask, 0o117);
  });

  it('has none with ClearAllForwardings', async () => {
    const forwards = await forwardsOf(lab('ClearAllForwardings yes\nLocalForward 1 a:1'));
    assert.deepEqual([forwards.local, forwards.cleared], [[], true]);
  });

  it('tells of one that leads to a socket of the jump host, and has the others', async () => {
    const { local, unfit } = await forwardsOf(
      lab('LocalForward 1 /run/x.sock\nLocalForward 2 a:2'),
    );
    assert.equal(local.length, 1);
    assert.match(unfit[0] ?? '', /^LocalForward 1 \/run\/x\.sock is not opened: a socket of the/);
  });

  for (const line of [
    'LocalForward 1',
    'LocalForward 70000 a:1',
    'LocalForward 0 a:1',
    'LocalForward 1 a',
    'LocalForward 1 a:1 b',
  ])
    it(`refuses "${line}", with ssh and without`, async () => {
      await assert.rejects(resolve(lab(line), 'a'), UsageError);
      const where = lab(line);
      const without = { ...where, context: { ...where.context, sshProgram: NO_SSH } };
      await assert.rejects(resolve(without, 'a'), UsageError);
    });

  it('keeps from the ssh of a tunnel what the tunnel opens itself', async () => {
    const where = lab('Include more\nLocalForward 1 a:1\nGatewayPorts yes', {
      '.ssh/more': 'LocalForward 2 a:2\nUser joe',
    });
    const { forwards } = await both(where, 'a');
    const keywords = forwardKeywords({ forwards });
    const copy = await copySshConfig(options('a').ssh, where.context, keywords);
    const { stdout } = spawnSync('ssh', ['-G', '-T', '-F', copy.path, 'a'], { encoding: 'utf8' });
    await copy.remove();
    assert.doesNotMatch(stdout, /^localforward /m);
    assert.match(stdout, /^user joe$/m);
    assert.match(stdout, /^gatewayports yes$/m);
    const lines = ['LocalForward=1 a:1', 'localforward 2 a:2', 'User=joe'];
    assert.deepEqual(lines.filter(isNoneOf(keywords)), ['User=joe']);
  });

  it('leaves a configuration without forwards to ssh as it is', async () => {
    assert.deepEqual(forwardKeywords(await both(lab('User joe'), 'a')), []);
    const cleared = forwardKeywords(await both(lab('ClearAllForwardings yes'), 'a'));
    assert.deepEqual(cleared, ['localforward', 'remoteforward', 'dynamicforward']);
  });
});
