/** The forwards of ssh_config and what decides about them, as ssh answers and as we evaluate it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { UsageError } from '../../../../src/errors/errors.ts';
import { hasForwards, isNoForward } from '../../../../src/ssh/config/forwards.ts';
import { FORWARD_KEYWORDS } from '../../../../src/ssh/config/keywords.ts';
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
    const where = lab(
      `LocalForward /run/%u/100%%.sock db:80\nLocalForward \${DIR}/x db:81\nLocalForward ~/x db:82`,
    );
    const { local } = await forwardsOf(where);
    assert.deepEqual(
      local.map(({ listen }) => listen.kind === 'socket' && listen.path.replace(/^\/run.*\//, '')),
      ['100%.sock', '/srv/x', '~/x'],
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

  it('has the places of DynamicForward, and tells of RemoteForward', async () => {
    const { dynamic, unfit } = await forwardsOf(
      lab(`DynamicForward 1080
        DynamicForward [::1]:1081
        DynamicForward localhost:1082
        DynamicForward *:1083
        DynamicForward 1080
        DynamicForward ~/proxy.sock
        RemoteForward 8080 localhost:80
        RemoteForward 127.0.0.1:8081 localhost:80
        RemoteForward /run/x.sock localhost:80
        RemoteForward 8082
        RemoteForward 8083`),
    );
    assert.deepEqual(
      dynamic.map(({ text, listen: { host, port } }) => [text, host, port]),
      [
        ['DynamicForward 1080', undefined, 1080],
        ['DynamicForward [::1]:1081', '::1', 1081],
        ['DynamicForward localhost:1082', 'localhost', 1082],
        ['DynamicForward *:1083', '*', 1083],
      ],
    );
    assert.match(unfit[0] ?? '', /^DynamicForward ~\/proxy\.sock is not opened: proxies/);
    assert.match(
      unfit[1] ?? '',
      /^RemoteForward 8080, 127\.0\.0\.1:8081, \/run\/x\.sock and 2 more is not set up: /,
    );
    assert.equal(unfit.length, 2);
  });

  for (const value of ['0', '70000', '1080 1081', 'no-such-service', '1:2:3'])
    it(`refuses "DynamicForward ${value}", with ssh and without`, async () => {
      const where = lab(`DynamicForward ${value}`);
      await assert.rejects(resolve(where, 'a'), UsageError);
      const without = { ...where, context: { ...where.context, sshProgram: NO_SSH } };
      await assert.rejects(resolve(without, 'a'), UsageError);
    });

  /** What an ssh that connects with the copy of the files would use for host a. */
  const answerWith = async (where: Lab): Promise<string> => {
    const copy = await copySshConfig(options('a').ssh, where.context, {
      without: FORWARD_KEYWORDS,
      ...{ remote: options('a').remote, via: undefined, sshOptions: [] },
    });
    const { environment } = where.context;
    const { stdout } = spawnSync('ssh', ['-G', '-T', '-F', copy.path, 'a'], {
      ...{ encoding: 'utf8', env: { ...environment } },
    });
    await copy.remove();
    return stdout;
  };
  const FORWARDS = /^(local|dynamic|remote)forward /m;

  it('keeps from the ssh of a tunnel what the tunnel opens itself', async () => {
    const where = lab(
      'Include more\nLocalForward 1 a:1\nRemoteForward 3 a:3\nGatewayPorts yes\nMatch all\nlocalforward 4 a:4',
      { '.ssh/more': 'LocalForward 2 a:2\nDynamicForward 1080\nUser joe' },
    );
    assert.equal(hasForwards(await both(where, 'a')), true);
    const answer = await answerWith(where);
    assert.doesNotMatch(answer, FORWARDS);
    assert.match(answer, /^user joe$/m);
    assert.match(answer, /^gatewayports yes$/m);
    const lines = ['LocalForward=1 a:1', 'dynamicforward 2', 'REMOTEFORWARD 3 a:3', 'User=joe'];
    assert.deepEqual(lines.filter(isNoForward), ['User=joe']);
  });

  it('keeps them from it also behind an Include that only ssh expands', async () => {
    // Older versions of ssh take ${DIR} for the name of a folder, newer ones expand it to /srv.
    const folders = [`\${DIR}`, 'srv'];
    const where = lab(
      '',
      Object.fromEntries(
        folders.flatMap((folder) => [
          [`${folder}/forwards`, ''],
          [`${folder}/more`, 'RemoteForward 2 a:2\nGatewayPorts yes'],
          [`${folder}/others`, 'LocalForward 3 a:3'],
          [`${folder}/plain`, 'Compression yes'],
          ['.ssh/a.conf', 'LocalForward 4 a:4'],
        ]),
      ),
    );
    const include = (name: string) => `Include "${where.home}/\${DIR}/${name}"`;
    for (const folder of folders)
      writeFileSync(
        join(where.home, folder, 'forwards'),
        `LocalForward 1 a:1\n${include('more')}\nUser joe`,
      );
    writeFileSync(
      join(where.home, '.ssh/config'),
      `${include('forwards')}\n${include('plain')}\nInclude *.conf\nHost other\n${include('others')}`,
    );
    const { forwards } = await resolve(where, 'a');
    assert.deepEqual(
      forwards.local.map(({ text }) => text),
      ['LocalForward 1 a:1', 'LocalForward 4 a:4'],
    );
    const answer = await answerWith(where);
    assert.doesNotMatch(answer, FORWARDS);
    for (const line of [/^user joe$/m, /^gatewayports yes$/m, /^compression yes$/m])
      assert.match(answer, line);
  });

  it('leaves a configuration without forwards to ssh as it is', async () => {
    assert.equal(hasForwards(await both(lab('User joe'), 'a')), false);
    assert.equal(hasForwards(await both(lab('ClearAllForwardings yes'), 'a')), true);
  });
});
