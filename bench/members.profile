proto = ws
addr = 127.0.0.1:{port}
path = /ws?channel=bench:{room}&token={token}
expect = "welcome"
member_frame = {"type":"publish","id":1,"channel":"bench:{room}","event":"m","data":"{payload}","volatile":true,"toSelf":true}
