/**
 * The configuration as text. That Terraform takes it, and what it makes, is shown in
 * test/interop/terraform.test.ts.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { renderCloudInit } from '../../../src/jumphost/cloudinit.ts';
import type { JumpHostPlan } from '../../../src/jumphost/plan.ts';
import { renderTerraform } from '../../../src/jumphost/terraform.ts';
import { assertGolden } from '../../support/golden.ts';
import { TERRAFORM_CASES, terraformPlan } from '../../support/terraformcases.ts';

/** What is between the first line of the heredoc and its last one. */
const USER_DATA = /(?<=<<USER_DATA\n)[\s\S]*(?=USER_DATA\n\}\n$)/;

function render(plan: JumpHostPlan): string {
  const [file, ...others] = renderTerraform(plan);
  assert.ok(file !== undefined);
  assert.deepEqual(others, []);
  assert.equal(file.path, 'main.tf');
  return file.text;
}

describe('the Terraform configuration', () => {
  for (const name of Object.keys(TERRAFORM_CASES)) {
    it(`${name} is rendered as in test/golden/jumphost/terraform/${name}.tf`, () => {
      const text = render(terraformPlan(name));
      // The user-data has golden files of its own.
      assertGolden(`jumphost/terraform/${name}.tf`, text.replace(USER_DATA, '#cloud-config\n'));
    });

    it(`${name} has the user-data of cloud-init in it`, () => {
      const plan = terraformPlan(name);
      const [escaped = ''] = USER_DATA.exec(render(plan)) ?? [];
      const text = escaped.replace(/([$%])\1(?=\{)/g, '$1');
      assert.equal(text, renderCloudInit(plan)[0]?.text);
    });

    it(`${name} has no template that an option has brought in`, () => {
      const text = render(terraformPlan(name));
      const templates = [...text.matchAll(/(?<!\$)\$\{([^}]*)\}|(?<!%)%\{/g)];
      for (const [, inside = 'a directive'] of templates)
        assert.match(inside, /^(var|local|it|each|openstack_\w+)\.[\w.]+$/);
    });
  }

  it('lets in whom a variable names, on the port that users see', () => {
    const text = render(terraformPlan('port'));
    assert.match(text, /port_range_min {4}= 2222\n {2}port_range_max {4}= 2222\n/);
    assert.match(text, /default {5}= \["0\.0\.0\.0\/0", "::\/0"\]/);
  });

  it('says so where a private key is in it', () => {
    const warning = /^# A PRIVATE KEY IS IN THIS FILE/m;
    const head = (name: string) => render(terraformPlan(name)).split('\n\n')[0] ?? '';
    assert.match(head('host-key'), warning);
    assert.doesNotMatch(head('direct'), warning);
  });

  it('has a comment as wide as others', () => {
    for (const name of Object.keys(TERRAFORM_CASES)) {
      const [head = ''] = render(terraformPlan(name)).split('\n\n');
      assert.deepEqual(
        head.split('\n').filter((line) => line.length > 100),
        [],
      );
    }
  });

  it('says how many rules there are, for the quota of the project', () => {
    assert.match(
      render(terraformPlan('many-ports')),
      /^# So there are up to 16 rules of security groups/m,
    );
  });
});
