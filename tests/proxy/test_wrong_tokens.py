from sessionbridge.proxy.wrong_tokens import WrongTokens


class Time:
    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


async def test_each_answer_comes_later_up_to_a_limit() -> None:
    time = Time()
    wrong = WrongTokens(lambda: time.now, time.sleep)
    for _ in range(3):
        await wrong.wait("192.0.2.7")
    assert time.waits == []
    for _ in range(40):
        await wrong.wait("192.0.2.7")
    assert time.waits[:6] == [0.25, 0.5, 1, 2, 4, 5]
    assert set(time.waits[6:]) == {5}


async def test_others_do_not_wait_and_neither_does_who_comes_back_later() -> None:
    time = Time()
    wrong = WrongTokens(lambda: time.now, time.sleep)
    for _ in range(4):
        await wrong.wait("192.0.2.7")
    await wrong.wait("192.0.2.8")
    time.now += 301
    await wrong.wait("192.0.2.7")
    assert time.waits == [0.25]


async def test_the_addresses_are_bounded() -> None:
    time = Time()
    wrong = WrongTokens(lambda: time.now, time.sleep)
    for number in range(2000):
        await wrong.wait(str(number))
    assert len(wrong._failed) <= 1024
