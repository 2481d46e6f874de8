/** The dashboard and the alerts: they are made of metrics that there are, and are explained. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { dashboard } from '../../../scripts/dashboard.ts';

const docs = (path: string): string =>
  readFileSync(new URL(`../../../../docs/${path}`, import.meta.url), 'utf8');

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly {
      readonly alert: string;
      readonly expr: string;
      readonly labels: { readonly severity: string };
      readonly annotations: { readonly summary: string; readonly description: string };
    }[];
  }[];
}

interface RuleTests {
  readonly tests: readonly {
    readonly alert_rule_test?: readonly {
      readonly alertname: string;
      readonly exp_alerts: readonly unknown[];
    }[];
  }[];
}

const alerts = (parse(docs('prometheus/rules.yml')) as Rules).groups.flatMap(({ rules }) => rules);

describe('docs/grafana and docs/prometheus', () => {
  it('have the dashboard that scripts/dashboard.ts makes', () => {
    assert.equal(docs('grafana/tunnel.json'), dashboard());
  });

  it('name no metric that docs/metrics.md does not have', () => {
    const known = new Set(
      [...docs('metrics.md').matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name),
    );
    for (const file of [
      'grafana/tunnel.json',
      'prometheus/rules.yml',
      'prometheus/rules_test.yml',
    ]) {
      const named = [...docs(file).matchAll(/\b(tunnel|process|nodejs)_[a-z0-9_]+/g)];
      assert.ok(named.length > 10, file);
      for (const [name] of named)
        assert.ok(known.has(name.replace(/_(bucket|sum|count)$/, '')), `${file}: ${name}`);
    }
  });

  it('say of each alert how bad it is, what has happened, and what to do', () => {
    const page = docs('operations.md');
    for (const { alert, labels, annotations } of alerts) {
      assert.match(alert, /^Tunnel[A-Z][A-Za-z]+$/);
      assert.match(labels.severity, /^(critical|warning|info)$/, alert);
      assert.match(annotations.summary, /^[A-Z].{10,80}\.$/, alert);
      assert.match(annotations.description, /\{\{ \$labels\.instance \}\}.*\.$/s, alert);
      assert.match(page, new RegExp(`^\\| \`${alert}\` \\|`, 'm'));
    }
  });

  it('test each alert, both when it fires and when it is silent', () => {
    const { tests } = parse(docs('prometheus/rules_test.yml'), { merge: true }) as RuleTests;
    const tried = tests.flatMap(({ alert_rule_test: all = [] }) => all);
    for (const { alert } of alerts) {
      const of = tried.filter(({ alertname }) => alertname === alert);
      assert.ok(
        of.some(({ exp_alerts: expected }) => expected.length > 0),
        alert,
      );
      assert.ok(
        of.some(({ exp_alerts: expected }) => expected.length === 0),
        alert,
      );
    }
  });
});
