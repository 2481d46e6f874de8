/**
 * A cloud whose users log in with a password and a one-time code: the program asks for what no file
 * has, once, and Keystone behind a real sshd gets both.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { type ExecResult, run } from '../support/process.ts';
import { MAIN } from '../support/tunnel.ts';

const CATALOG = [
  { type: 'compute', endpoints: [{ interface: 'public', url: 'https://192.0.2.1:8774/v2.1' }] },
];

describe('a cloud with two factors', { skip: sshdMissing, timeout: 60_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-cloud-'));
  const asked = join(directory, 'asked');
  let sshd: LoopbackSshd;
  let keystone: Server;
  const logins: string[] = [];

  before(async () => {
    sshd = await LoopbackSshd.start();
    keystone = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => {
        body += chunk;
      });
      request.on('end', () => {
        if (request.method === 'POST') logins.push(body);
        response.writeHead(201, { 'X-Subject-Token': 't' });
        response.end(JSON.stringify({ token: { catalog: CATALOG } }));
      });
    });
    keystone.listen(0, '127.0.0.1');
    await once(keystone, 'listening');
    const { port } = keystone.address() as AddressInfo;
    writeFileSync(
      join(directory, 'clouds.yaml'),
      `clouds:
  demo:
    auth_type: v3multifactor
    auth_methods: [v3password, v3totp]
    auth: {auth_url: "http://127.0.0.1:${port}/v3", username: 0089, user_domain_id: default}
`,
    );
    // Answers each question, and notes it.
    const askpass = `#!/bin/sh
echo "$1" >>'${asked}'
case "$1" in *passcode*) echo 012345 ;; *) echo hunter2 ;; esac
`;
    writeFileSync(join(directory, 'askpass'), askpass);
    chmodSync(join(directory, 'askpass'), 0o755);
    writeFileSync(asked, '');
    const hostKey = readFileSync(join(sshd.directory, 'host_ed25519.pub'), 'utf8');
    writeFileSync(join(directory, 'known_hosts'), `[127.0.0.1]:${sshd.port} ${hostKey}`);
  });

  after(async () => {
    keystone.close();
    await sshd.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  function report(env: Record<string, string>, port = sshd.port): Promise<ExecResult> {
    const remote = `${sshd.user}@127.0.0.1:${port}`;
    const key = join(sshd.directory, 'user_key');
    const trust = ['-o', `UserKnownHostsFile=${join(directory, 'known_hosts')}`];
    const ssh = ['-r', remote, '-i', key, '-F', 'none', ...trust];
    const args = ['openstack', ...ssh, '--os-cloud', 'demo', '--format', 'targets'];
    return run(['setsid', process.execPath, MAIN, ...args], {
      cwd: directory,
      env: { PATH: process.env['PATH'] ?? '', HOME: directory, ...env },
    });
  }

  it('is refused with what is missing where nobody can be asked', async () => {
    const { status, stderr } = await report({});
    assert.equal(status, 2, stderr);
    assert.match(stderr, /the cloud "demo" has no password/);
    assert.deepEqual(logins, []);
  });

  it('with a date for a password is refused before the jump host is dialled', async () => {
    const file = join(directory, 'wrong.yaml');
    const auth = 'auth_url: "http://127.0.0.1/v3", user_id: u, password: 2021-01-01';
    writeFileSync(file, `clouds: {demo: {auth: {${auth}}}}`);
    const { status, stderr } = await report({ OS_CLIENT_CONFIG_FILE: file }, 1);
    assert.equal(status, 2, stderr);
    assert.match(stderr, /openstack-config.*password.*it is a date/);
    assert.match(stderr, /quote it/);
  });

  it('asks for password and code once, and then has the catalog', async () => {
    const askpass = { SSH_ASKPASS: join(directory, 'askpass'), SSH_ASKPASS_REQUIRE: 'force' };
    for (const _ of ['fetched', 'cached']) {
      const { status, stdout, stderr } = await report(askpass);
      assert.equal(status, 0, stderr);
      assert.match(stdout, /192\.0\.2\.1:8774/);
      assert.doesNotMatch(stderr, /hunter2|012345/);
    }
    // The program asks as ssh does, with the blank behind the colon.
    const questions = ['Password for the cloud demo: ', 'TOTP passcode for the cloud demo: '];
    assert.equal(readFileSync(asked, 'utf8'), questions.map((it) => `${it}\n`).join(''));
    const user = { name: '0089', domain: { id: 'default' } };
    assert.deepEqual(
      logins.map((it) => JSON.parse(it)),
      [
        {
          auth: {
            identity: {
              methods: ['password', 'totp'],
              password: { user: { ...user, password: 'hunter2' } },
              totp: { user: { ...user, passcode: '012345' } },
            },
          },
        },
      ],
    );
  });
});
