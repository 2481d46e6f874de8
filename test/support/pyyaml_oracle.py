"""What PyYAML's safe loader makes of documents, and openstacksdk of their values. Reads a JSON list
of YAML texts, and prints for each {"values": ...}, or {"error": ...} where PyYAML refuses it.
Numbers are {"number": text}, as openstacksdk writes them; dates are {"date": text}, and with a time
{"time": ""}."""
import datetime
import json
import sys

import yaml


def shown(value):
    if isinstance(value, dict):
        return {key_of(key): shown(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shown(inner) for inner in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return {'number': str(value)}
    if isinstance(value, datetime.datetime):
        return {'time': ''}
    if isinstance(value, datetime.date):
        return {'date': str(value)}
    return {'other': type(value).__name__}


def key_of(key):
    if isinstance(key, datetime.datetime):
        return 'key:time'
    return key if isinstance(key, str) else f'key:{key}'


def main():
    answers = []
    for text in json.load(sys.stdin):
        try:
            answers.append({'values': shown(yaml.safe_load(text))})
        except Exception as error:
            answers.append({'error': f'{type(error).__name__}: {error}'})
    json.dump(answers, sys.stdout)


main()
