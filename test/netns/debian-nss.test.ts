/**
 * A user and a group that only a module of NSS knows, as those of a directory (LDAP, SSSD): the
 * helper and the launcher know them, too. Here the module is extrausers, with files of its own.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { API1, PRIVATE4 } from '../support/addresses.ts';
import { packageFile, packageMissing } from '../support/debianpackage.ts';
import { DebianRoot, rootMissing } from '../support/debianroot.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { REMOTE } from '../support/tunnel.ts';

const ARCHIVE = 'package-trixie';
const READY_MS = 30_000;
const MEMBER = 'corpmember';
const OTHER = 'corpother';
const GROUP = 'corpnet';

const ACCOUNTS = `
sed -i -E 's/^(passwd|group|shadow):.*/& extrausers/' /etc/nsswitch.conf
mkdir -p /var/lib/extrausers
cat >/var/lib/extrausers/passwd <<EOF
${MEMBER}:x:70001:70001::/home/${MEMBER}:/bin/bash
${OTHER}:x:70002:70002::/home/${OTHER}:/bin/bash
EOF
cat >/var/lib/extrausers/group <<EOF
${MEMBER}:x:70001:
${OTHER}:x:70002:
${GROUP}:x:70003:${MEMBER}
EOF
cat >/var/lib/extrausers/shadow <<EOF
${MEMBER}:*:20000:0:99999:7:::
${OTHER}:*:20000:0:99999:7:::
EOF
! grep -q corp /etc/passwd /etc/group
echo 'ALL ALL=(root) NOPASSWD: /usr/libexec/tunnel-helper' >/etc/sudoers.d/tunnel-test
`;

describe('a user whom only NSS knows', {
  skip: labUnavailable('nsenter') || rootMissing(ARCHIVE) || packageMissing(),
  timeout: 300_000,
}, () => {
  let lab: Lab;
  let root: DebianRoot;

  before(async () => {
    lab = await Lab.create();
    root = await DebianRoot.start(lab.client, ARCHIVE, join(lab.directory, ARCHIVE));
    root.copy(packageFile(), '/tmp/package.deb');
    await root.script('apt-get install -qq --no-install-recommends /tmp/package.deb');
    await root.script(ACCOUNTS);
    root.write('/etc/tunnel/helper.conf', `permit %${GROUP} ${PRIVATE4}\n`);
    for (const user of [MEMBER, OTHER]) {
      const home = `/home/${user}`;
      await root.script(`install -d -m 700 ${home} ${home}/.ssh`);
      const from = join(lab.clientHome, '.ssh');
      for (const file of readdirSync(from)) root.copy(join(from, file), `${home}/.ssh/${file}`);
      await root.script(`chown -R ${user}: ${home} && chmod 600 ${home}/.ssh/*`);
    }
  });
  after(async () => {
    await root?.close();
    await lab?.close();
  });

  const connect = (user: string, target: string) =>
    root.spawn(['tunnel', '-r', REMOTE, target], { user });

  it('captures what is permitted to a group that only NSS knows', async () => {
    const tunnel = await connect(MEMBER, PRIVATE4);
    await tunnel.waitForLine(/tunnel: ready\n/, READY_MS);
    const { stdout } = await root.exec(['curl', '-sS', '--max-time', '20', `http://${API1}/`]);
    assert.match(stdout, /"host":"api1"/);
    await root.script('tunnel stop', { user: MEMBER });
    assert.equal((await tunnel.exited).status, 0, tunnel.stderr);
  });

  it('captures nothing else, and who is not in the group captures nothing', async () => {
    for (const [user, target] of [
      [MEMBER, '10.78.0.0/16'],
      [OTHER, PRIVATE4],
    ] as const) {
      const tunnel = await connect(user, target);
      assert.equal((await tunnel.wait(READY_MS)).status, 6, tunnel.stderr);
      assert.match(tunnel.stderr, /helper\.conf/);
    }
  });

  it('keeps name and groups in a network of its own', async () => {
    const argv = ['tunnel', 'exec', '-q', '--isolate', '-r', REMOTE, PRIVATE4, '--', 'id'];
    const { status, stdout, stderr } = await root.exec(argv, { user: MEMBER });
    assert.equal(status, 0, stderr);
    assert.match(stdout, new RegExp(`^uid=70001\\(${MEMBER}\\) gid=70001\\(${MEMBER}\\)`));
  });
});
