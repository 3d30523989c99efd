"""Drives a headless Chromium over its pipe (--remote-debugging-pipe: JSON messages, each ended by a NUL).

    browser.py PROGRAM ADDRESS

opens ADDRESS on the screen of a telephone. For each line on stdin, an expression in JavaScript, it prints the value as a
line of JSON; a line `screenshot PATH` writes a PNG.
"""
import base64, json, os, shutil, signal, subprocess, sys, tempfile

program, address = sys.argv[1:]
to_browser, ours_out = os.pipe()
ours_in, from_browser = os.pipe()
profile = tempfile.mkdtemp()


def descriptors():
    # What Chromium reads and writes are 3 and 4; first away from there, then to their places.
    high = [os.dup2(fd, 100 + fd) for fd in (to_browser, from_browser)]
    for place, fd in zip((3, 4), high):
        os.dup2(fd, place)


browser = subprocess.Popen(
    [program, '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe', f'--user-data-dir={profile}',
     '--no-proxy-server', 'about:blank'],
    close_fds=False, preexec_fn=descriptors, stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
os.close(to_browser)
os.close(from_browser)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
answers = os.fdopen(ours_in, 'rb')
number = 0


def message():
    text = b''
    while not text.endswith(b'\0'):
        byte = answers.read(1)
        if not byte:
            sys.exit('the browser has ended')
        text += byte
    return json.loads(text[:-1])


def call(method, session=None, **params):
    global number
    number += 1
    request = {'id': number, 'method': method, 'params': params}
    if session:
        request['sessionId'] = session
    os.write(ours_out, json.dumps(request).encode() + b'\0')
    while True:
        answer = message()
        if answer.get('id') == number:
            if 'error' in answer:
                sys.exit(f'{method}: {answer["error"]}')
            return answer['result']


try:
    target = call('Target.createTarget', url='about:blank')['targetId']
    session = call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
    call('Emulation.setDeviceMetricsOverride', session, width=390, height=844, deviceScaleFactor=1, mobile=True)
    call('Page.navigate', session, url=address)
    print('ready', flush=True)
    for line in sys.stdin:
        line = line.rstrip('\n')
        if line.startswith('screenshot '):
            shot = call('Page.captureScreenshot', session, captureBeyondViewport=True)
            with open(line.split(' ', 1)[1], 'wb') as file:
                file.write(base64.b64decode(shot['data']))
            print('true', flush=True)
            continue
        result = call('Runtime.evaluate', session, expression=line, returnByValue=True)
        print(json.dumps(result['result'].get('value')), flush=True)
finally:
    try:
        os.killpg(browser.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    browser.wait()
    shutil.rmtree(profile, ignore_errors=True)
